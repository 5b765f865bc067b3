//! Passwords, verified against bcrypt hashes, which is meant to take long: off the event loop, one at a time, with a
//! limit to how many wait, and once for each password that comes again.
//!
//! What is remembered of right ones has a place for each user, so that who tries wrong ones pushes nobody out.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::error;

use super::digests::{Digest, Digests};
use super::web_config::Users;

/// Passwords that wait to be verified, with the one that is being.
const MOST_WAITING: usize = 16;

/// Wrong passwords that are remembered.
const MOST_WRONG: usize = 100;

/// What is found of a user's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// It is right.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Too many wait, or it cannot be told.
    NotNow,
}

/// Verifies passwords.
pub(super) struct Passwords {
    digests: Arc<Digests>,
    known: Mutex<Known>,
    waiting: Semaphore,
    turn: Semaphore,
    runtime: Handle,
}

/// What is remembered. A digest is of a user, the hash and the password.
#[derive(Default)]
struct Known {
    right: HashMap<String, Digest>,
    wrong: VecDeque<Digest>,
}

impl Passwords {
    /// They are verified on the threads of the runtime that this is called on.
    pub(super) fn new(digests: Arc<Digests>) -> Passwords {
        Passwords {
            digests,
            known: Mutex::default(),
            waiting: Semaphore::new(MOST_WAITING),
            turn: Semaphore::new(1),
            runtime: Handle::current(),
        }
    }

    /// Whether this is the password of one of the users.
    pub(super) async fn check(&self, users: &Users, user: &str, password: Vec<u8>) -> Checked {
        // For somebody who does not exist it takes as long.
        let Some(hash) = users.hash(user).or(users.any_hash()) else { return Checked::Wrong };
        let digest = self.digests.of(&[user.as_bytes(), hash.as_bytes(), &password]);
        if let Some(known) = self.known().find(user, &digest) {
            return known;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Checked::NotNow };
        let Ok(_turn) = self.turn.acquire().await else { return Checked::NotNow };
        // It may have been verified meanwhile.
        if let Some(known) = self.known().find(user, &digest) {
            return known;
        }
        let of_thread = hash.to_owned();
        let verified =
            self.runtime.spawn_blocking(move || bcrypt::verify(password, &of_thread).unwrap_or(false));
        let is_right = match verified.await {
            Ok(is_right) => is_right && users.contains(user),
            Err(error) => {
                error!(%error, "a password cannot be verified");
                return Checked::NotNow;
            }
        };
        self.known().note(user, digest, is_right)
    }

    /// Forgets the passwords of everybody else.
    pub(super) fn keep_only(&self, users: &Users) {
        self.known().right.retain(|user, _| users.contains(user));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&self, user: &str, digest: &Digest) -> Option<Checked> {
        if self.right.get(user) == Some(digest) {
            return Some(Checked::Right);
        }
        self.wrong.contains(digest).then_some(Checked::Wrong)
    }

    fn note(&mut self, user: &str, digest: Digest, is_right: bool) -> Checked {
        if is_right {
            self.right.insert(user.to_owned(), digest);
            return Checked::Right;
        }
        if self.wrong.len() == MOST_WRONG {
            self.wrong.pop_front();
        }
        self.wrong.push_back(digest);
        Checked::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(Arc::new(Digests::new().expect("randomness")))
    }

    fn users(password: &str) -> Users {
        Users::one("alice", bcrypt::hash(password, 4).expect("a hash"))
    }

    #[tokio::test]
    async fn a_password_is_verified_once_and_again_when_the_hash_is_another() {
        let (passwords, users_of_before) = (passwords(), users("test"));
        let check = async |users: &Users, user: &str, password: &str| {
            passwords.check(users, user, password.into()).await
        };
        for _ in 0..2 {
            assert_eq!(check(&users_of_before, "alice", "test").await, Checked::Right);
            for (user, password) in [("alice", "Test"), ("alice", ""), ("bob", "test"), ("", "test")] {
                assert_eq!(
                    check(&users_of_before, user, password).await,
                    Checked::Wrong,
                    "{user} {password}"
                );
            }
        }
        let sizes = |known: &Known| (known.right.len(), known.wrong.len());
        assert_eq!(sizes(&passwords.known()), (1, 4));
        assert_eq!(check(&users("other"), "alice", "test").await, Checked::Wrong);
        assert_eq!(check(&Users::default(), "alice", "test").await, Checked::Wrong);
        passwords.keep_only(&Users::default());
        assert_eq!(passwords.known().right.len(), 0);
    }

    #[tokio::test]
    async fn what_is_remembered_is_verified_while_another_takes_its_time_and_few_wait() {
        let (passwords, users) = (passwords(), users("test"));
        assert_eq!(passwords.check(&users, "alice", b"test".to_vec()).await, Checked::Right);
        let _turn = passwords.turn.acquire().await.expect("a turn");
        let _waiting = passwords.waiting.acquire_many(MOST_WAITING as u32).await.expect("all places");
        assert_eq!(passwords.check(&users, "alice", b"test".to_vec()).await, Checked::Right);
        assert_eq!(passwords.check(&users, "alice", b"a try".to_vec()).await, Checked::NotNow);
    }

    #[test]
    fn wrong_ones_are_forgotten_before_there_are_too_many_and_right_ones_are_not() {
        let (digests, mut known) = (Digests::new().expect("randomness"), Known::default());
        let right = digests.of(&[b"right"]);
        known.note("alice", right, true);
        for number in 0..1_000_usize {
            known.note("alice", digests.of(&[&number.to_be_bytes()]), false);
        }
        assert_eq!(known.wrong.len(), MOST_WRONG);
        assert_eq!(known.find("alice", &right), Some(Checked::Right));
    }
}
