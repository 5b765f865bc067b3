//! What the parts of the way of an event cost, each by itself: reading a query, labels, the totals, the journal, a
//! span, the page.
//!
//! `cargo bench --bench parts`, or with the beginning of a name behind `--`. Where there is something to compare with,
//! it stands beside the part: times differ from machine to machine, and their ratios less. `benches/instructions.rs`
//! measures the way as a whole.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot do its work ends")]

mod support;

use std::time::SystemTime;

use divan::{Bencher, black_box};
use planet_call_exporter::callback::labels::LabelSource;
use planet_call_exporter::callback::{CallEvent, Kind, Record};
use planet_call_exporter::ledger::{Ledger, Limits};

use support::sample;

fn main() {
    divan::main();
}

fn now() -> SystemTime {
    SystemTime::now()
}

/// A call of one of many kinds, as a service has them: several IDCs, audio and video, and reasons of all sorts.
fn mixed(number: usize) -> String {
    const REASONS: [&str; 6] = ["1001", "1001", "1002", "1101", "1201", "1301"];
    let (idc, media) = (["KR", "JP", "TW", "TH"][number % 4], ["A", "V"][number / 4 % 2]);
    let reason = REASONS[number / 8 % REASONS.len()];
    let behind = sample::PLAIN.replace("rc_idc=KR", &format!("rc_idc={idc}"));
    let behind = behind.replace("type=V", &format!("type={media}"));
    sample::query(number, &behind.replace("disconnect_reason=1001", &format!("disconnect_reason={reason}")))
}

/// A ledger that knows calls of many kinds.
fn ledger(queries: &[String]) -> Ledger {
    let buckets = || "1,5,10,30,60,120,180,300,600,900,1800,3600,7200,14400".parse().unwrap();
    let mut ledger = Ledger::new(now(), Limits::default(), buckets(), buckets());
    queries.iter().for_each(|query| ledger.apply(CallEvent::read(query.as_bytes(), now()).unwrap()));
    ledger
}

fn record(number: usize) -> bytes::Bytes {
    let query = sample::query(number, sample::PLAIN);
    let key = Kind::CallEvent.identify(query.as_bytes()).unwrap().key;
    let (kind, received_at) = (Kind::CallEvent, now());
    Record { kind, received_at, key, envelope: b"", query: query.as_bytes() }.encode()
}

mod read {
    use super::*;

    const QUERIES: [&str; 2] = [sample::PLAIN, sample::ENCODED];
    const NAMES: [&str; 2] = ["plain", "encoded"];

    fn query(name: &str) -> String {
        let at = NAMES.iter().position(|known| *known == name).unwrap();
        sample::query(7, QUERIES[at])
    }

    /// What intake reads of a query.
    #[divan::bench(args = NAMES)]
    fn key_and_fingerprint(bencher: Bencher, name: &str) {
        let query = query(name);
        bencher.bench(|| Kind::CallEvent.identify(black_box(query.as_bytes())));
    }

    /// What the totals and sinks read of it.
    #[divan::bench(args = NAMES)]
    fn event(bencher: Bencher, name: &str) {
        let (query, now) = (query(name), now());
        bencher.bench(|| CallEvent::read(black_box(query.as_bytes()), now));
    }

    /// To compare with: the pairs of the form, and nothing done with them.
    #[divan::bench(args = NAMES)]
    fn serde_urlencoded(bencher: Bencher, name: &str) {
        let query = query(name);
        bencher.bench(|| {
            serde_urlencoded::from_bytes::<Vec<(String, String)>>(black_box(query.as_bytes())).unwrap()
        });
    }
}

#[divan::bench]
fn labels(bencher: Bencher) {
    let (query, now) = (sample::query(7, sample::PLAIN), now());
    let event = CallEvent::read(query.as_bytes(), now).unwrap();
    bencher.bench(|| LabelSource::all().for_each(|source| drop(black_box(source.value(black_box(&event))))));
}

mod totals {
    use super::*;

    /// Adds a call to totals that know calls like it.
    #[divan::bench(args = ["of one kind", "of many kinds"])]
    fn apply(bencher: Bencher, kinds: &str) {
        let queries: Vec<String> = match kinds {
            "of one kind" => vec![sample::query(7, sample::PLAIN)],
            _ => (0..48).map(mixed).collect(),
        };
        let (mut ledger, mut number, now) = (ledger(&queries), 0, now());
        bencher
            .with_inputs(|| {
                number += 1;
                CallEvent::read(queries[number % queries.len()].as_bytes(), now).unwrap()
            })
            .bench_local_values(|event| ledger.apply(event));
    }
}

mod journal {
    use std::fs::File;
    use std::io::Write;

    use planet_call_exporter::journal::disk::DiskJournal;
    use planet_call_exporter::journal::memory::MemoryJournal;
    use planet_call_exporter::journal::storage::Directory;

    use super::*;

    #[divan::bench]
    fn encode(bencher: Bencher) {
        let query = sample::query(7, sample::PLAIN);
        let (kind, received_at) = (Kind::CallEvent, now());
        let key = kind.identify(query.as_bytes()).unwrap().key;
        let record = Record { kind, received_at, key, envelope: b"", query: query.as_bytes() };
        bencher.bench(|| black_box(&record).encode());
    }

    #[divan::bench]
    fn append_in_memory(bencher: Bencher) {
        let (journal, record) = (MemoryJournal::new(1 << 20), record(7));
        bencher.bench(|| journal.append(record.clone()));
    }

    /// Appends a batch of so many records to a segment, and waits until it is on disk.
    #[divan::bench(args = [1, 64])]
    fn append_on_disk(bencher: Bencher, records: usize) {
        let scratch = tempfile::tempdir().unwrap();
        let storage = Directory::new(scratch.path()).unwrap();
        let journal = DiskJournal::open(storage, 1 << 30, 0, |_, _| {}).unwrap();
        let batch: Vec<_> = (0..records).map(record).collect();
        bencher.bench(|| journal.append(&batch).unwrap());
    }

    /// To compare with: the same bytes written to a file that grows, and synced.
    #[divan::bench(args = [1, 64])]
    fn write_and_sync(bencher: Bencher, records: usize) {
        let scratch = tempfile::tempdir().unwrap();
        let mut file = File::create(scratch.path().join("file")).unwrap();
        let bytes: Vec<u8> = (0..records).flat_map(record).collect();
        bencher.bench_local(|| {
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
        });
    }
}

mod span {
    use opentelemetry_proto::tonic::trace::v1::Span;
    use planet_call_exporter::sinks::identity::Identity;
    use planet_call_exporter::sinks::spans::span::span;
    use prost::Message;

    use super::*;

    #[divan::bench]
    fn make_and_encode(bencher: Bencher) {
        let (query, now) = (sample::query(7, sample::PLAIN), now());
        let event = CallEvent::read(query.as_bytes(), now).unwrap();
        bencher.bench(|| Span::from(span(black_box(&event), &Identity::Drop)).encode_to_vec());
    }
}

mod page {
    use planet_call_exporter::metrics::{openmetrics, text};

    use super::*;

    fn families() -> Vec<planet_call_exporter::metrics::family::Family> {
        ledger(&(0..48).map(mixed).collect::<Vec<_>>()).families()
    }

    #[divan::bench]
    fn families_of_totals(bencher: Bencher) {
        let ledger = ledger(&(0..48).map(mixed).collect::<Vec<_>>());
        bencher.bench(|| black_box(&ledger).families());
    }

    #[divan::bench]
    fn render_text(bencher: Bencher) {
        let families = families();
        bencher.bench(|| text::render(black_box(&families)));
    }

    #[divan::bench]
    fn render_openmetrics(bencher: Bencher) {
        let families = families();
        bencher.bench(|| openmetrics::render(black_box(&families), &[], false));
    }
}
