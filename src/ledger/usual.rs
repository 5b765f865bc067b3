//! What an IDC has on a normal day, and so from the beginning.

/// The releases that every IDC has on a normal day: disconnect reason, releaser, seconds of conversation.
const USUAL_RELEASES: [(u16, u8, u8); 6] =
    [(1001, 2, 1), (1001, 1, 1), (1002, 1, 0), (1201, 2, 0), (1202, 1, 0), (1203, 2, 0)];

/// A call for each of them, audio and video.
pub(super) fn usual_calls() -> impl Iterator<Item = String> {
    ["A", "V"].into_iter().flat_map(|media_type| {
        USUAL_RELEASES.into_iter().map(move |(reason, releaser, duration)| {
            format!(
                "sid=usual&type={media_type}&setup_time=1600000000&start_time=1600000001&end_time=1600000002\
                 &duration={duration}&disconnect_reason={reason}&releaser_type={releaser}"
            )
        })
    })
}
