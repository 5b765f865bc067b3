//! Why a call ended, who ended it, and whose fault it is: the published tables, one each.
//!
//! Source: LINE Planet's documentation of disconnect reasons, of the releaser type and of the simple release cause in
//! the 1-to-1 call event callback. [`older`] has what only older SDKs and servers send. Fault domains are this
//! program's own classification, derived from the reason (and for `INTERNAL_ERROR` from the releaser).

pub mod older;

/// Who a release is charged to. Everything but [`None`](FaultDomain::None) and [`User`](FaultDomain::User) is
/// *abnormal*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultDomain {
    /// The call ended as it should.
    None,
    /// People's behaviour: busy, no answer, declined, cancelled.
    User,
    /// The app or the device.
    Client,
    /// The network between device and cloud.
    Network,
    /// LINE Planet's servers.
    Platform,
    /// The service itself: its server, its credentials, its own release codes.
    Application,
    /// A code in no documented range, or one of which only the range is known, and that the range is of errors; and a call of
    /// which nothing tells how it ended.
    Unknown,
}

impl FaultDomain {
    /// Every fault domain, in the order of the documentation.
    pub const ALL: [FaultDomain; 7] = [
        FaultDomain::None,
        FaultDomain::User,
        FaultDomain::Client,
        FaultDomain::Network,
        FaultDomain::Platform,
        FaultDomain::Application,
        FaultDomain::Unknown,
    ];

    /// The value of the label `fault_domain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultDomain::None => "none",
            FaultDomain::User => "user",
            FaultDomain::Client => "client",
            FaultDomain::Network => "network",
            FaultDomain::Platform => "platform",
            FaultDomain::Application => "application",
            FaultDomain::Unknown => "unknown",
        }
    }

    /// Whether a release of this domain is abnormal, that is: neither as it should be nor people's behaviour.
    pub const fn is_abnormal(self) -> bool {
        !matches!(self, FaultDomain::None | FaultDomain::User)
    }
}

/// Who disconnected a call (`releaser_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Releaser {
    /// 1: the callee of a 1-to-1 call.
    Callee,
    /// 2: the caller of a 1-to-1 call.
    Caller,
    /// 3: a participant of a group call.
    Participant,
    /// 4: a LINE Planet server.
    CloudServer,
    /// 5: the service's own server.
    AppServer,
    /// A value that is not in the table, or none at all.
    Other,
}

impl Releaser {
    /// The releasers of the table with their codes.
    pub const TABLE: [(i64, Releaser); 5] = [
        (1, Releaser::Callee),
        (2, Releaser::Caller),
        (3, Releaser::Participant),
        (4, Releaser::CloudServer),
        (5, Releaser::AppServer),
    ];

    /// The releaser with this code, or `None` for a code that is not in the table.
    pub fn from_code(code: i64) -> Option<Releaser> {
        Releaser::TABLE.iter().find(|(known, _)| *known == code).map(|(_, releaser)| *releaser)
    }

    /// The releaser that the older generation of the callback gives as a text: `initiator`, `responder`, or the host name of a
    /// server.
    pub fn from_older_text(text: &str) -> Releaser {
        match text {
            "initiator" => Releaser::Caller,
            "responder" => Releaser::Callee,
            _ => Releaser::CloudServer,
        }
    }

    /// The value of the label `releaser`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Releaser::Callee => "callee",
            Releaser::Caller => "caller",
            Releaser::Participant => "participant",
            Releaser::CloudServer => "cloud_server",
            Releaser::AppServer => "app_server",
            Releaser::Other => "other",
        }
    }
}

/// A simple release cause (`terminate`): one of the six codes of ITU-T Q.850 that LINE Planet uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseCause {
    /// The Q.850 cause value.
    pub code: i64,
    /// The same as text, which is the value of the label `terminate`.
    pub text: &'static str,
    /// LINE Planet's name of it; Q.850's own for 127, which LINE Planet leaves nameless.
    pub name: &'static str,
    /// What a release with this cause says of the fault where no disconnect reason was sent.
    pub fault_domain: FaultDomain,
}

impl ReleaseCause {
    /// The cause of every call that was answered, whatever ended it later.
    pub const NORMAL_RELEASED: i64 = 16;

    /// Every cause that LINE Planet documents.
    pub const TABLE: &[ReleaseCause] = &[
        ReleaseCause { code: 16, text: "16", name: "NORMAL_RELEASED", fault_domain: FaultDomain::None },
        ReleaseCause { code: 17, text: "17", name: "BUSY", fault_domain: FaultDomain::User },
        ReleaseCause { code: 18, text: "18", name: "NO_ANSWER", fault_domain: FaultDomain::User },
        ReleaseCause { code: 21, text: "21", name: "REJECTED", fault_domain: FaultDomain::User },
        ReleaseCause { code: 77, text: "77", name: "CANCELED", fault_domain: FaultDomain::User },
        ReleaseCause {
            code: 127,
            text: "127",
            name: "INTERWORKING_UNSPECIFIED",
            fault_domain: FaultDomain::Unknown,
        },
    ];

    /// The cause with this code, or `None` for one that LINE Planet does not document.
    pub fn from_code(code: i64) -> Option<&'static ReleaseCause> {
        ReleaseCause::TABLE.iter().find(|cause| cause.code == code)
    }
}

/// Which kind of call a disconnect reason is documented for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallType {
    /// 1-to-1 calls only.
    OneToOne,
    /// Group calls only.
    Group,
    /// Both.
    Both,
}

/// The class that LINE Planet's documentation gives a range of disconnect reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentedClass {
    /// No error.
    Common,
    /// An error.
    Error,
}

/// How the fault domain follows from a disconnect reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Always this domain.
    Of(FaultDomain),
    /// Platform if a LINE Planet server released the call, otherwise client.
    ByReleaser,
}

/// A disconnect reason that LINE Planet documents.
#[derive(Debug, PartialEq, Eq)]
pub struct DisconnectReason {
    /// The number in `disconnect_reason`.
    pub code: i64,
    /// Its name, which is the value of the label `disconnect_reason`.
    pub name: &'static str,
    /// The calls it can end.
    pub call_type: CallType,
    /// Who can send it.
    pub sources: &'static [Releaser],
    /// The class of its range.
    pub documented_class: DocumentedClass,
    /// Whose fault it is.
    pub fault: Fault,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// What to do first if calls end so more often than usual. This program's own advice.
    pub first_action: &'static str,
}

impl DisconnectReason {
    /// The reason with this code, or that of its newer kin; `None` for a code that no table has.
    pub fn from_code(code: i64) -> Option<&'static DisconnectReason> {
        match DISCONNECT_REASONS.binary_search_by_key(&code, |reason| reason.code) {
            Ok(at) => DISCONNECT_REASONS.get(at),
            Err(_) => older::newer_kin(code),
        }
    }

    /// Every reason that a call can be counted under.
    pub fn all() -> impl Iterator<Item = &'static DisconnectReason> {
        DISCONNECT_REASONS.iter().chain([&older::WRONG_ROOM_ATTR])
    }

    /// The fault domain of a release with this reason by `releaser`.
    pub fn fault_domain(&self, releaser: Releaser) -> FaultDomain {
        match self.fault {
            Fault::Of(domain) => domain,
            Fault::ByReleaser if releaser == Releaser::CloudServer => FaultDomain::Platform,
            Fault::ByReleaser => FaultDomain::Client,
        }
    }

    /// Every fault domain that this reason can have.
    pub fn fault_domains(&self) -> impl Iterator<Item = FaultDomain> {
        let (first, second) = match self.fault {
            Fault::Of(domain) => (domain, None),
            Fault::ByReleaser => (FaultDomain::Client, Some(FaultDomain::Platform)),
        };
        std::iter::once(first).chain(second)
    }
}

/// A documented range of disconnect reasons: what is known of a code that is newer than the table.
#[derive(Debug, PartialEq, Eq)]
pub struct ReasonRange {
    /// The codes of the range.
    pub codes: std::ops::RangeInclusive<i64>,
    /// The class that the documentation gives all of them.
    pub documented_class: DocumentedClass,
    /// The fault domain of an unknown code in the range. A common code is no fault, and in the second common range
    /// it is people's behaviour; of an error, the range does not say whose it is.
    pub fault_domain: FaultDomain,
}

impl ReasonRange {
    /// The documented range that holds `code`.
    pub fn of(code: i64) -> Option<&'static ReasonRange> {
        REASON_RANGES.iter().find(|range| range.codes.contains(&code))
    }
}

/// The fault domain of a code that is not in the table of disconnect reasons.
pub fn fault_domain_of_unknown(code: i64) -> FaultDomain {
    ReasonRange::of(code).map_or(FaultDomain::Unknown, |range| range.fault_domain)
}

const fn range(
    first: i64,
    last: i64,
    documented_class: DocumentedClass,
    fault_domain: FaultDomain,
) -> ReasonRange {
    ReasonRange { codes: first..=last, documented_class, fault_domain }
}

/// The documented ranges.
pub static REASON_RANGES: [ReasonRange; 6] = [
    range(1001, 1100, DocumentedClass::Common, FaultDomain::None),
    range(1101, 1200, DocumentedClass::Error, FaultDomain::Unknown),
    range(1201, 1300, DocumentedClass::Common, FaultDomain::User),
    range(1301, 1400, DocumentedClass::Error, FaultDomain::Unknown),
    range(1401, 1500, DocumentedClass::Error, FaultDomain::Unknown),
    range(1501, 1600, DocumentedClass::Error, FaultDomain::Unknown),
];

/// Every disconnect reason that LINE Planet documents, in the order of the codes.
#[rustfmt::skip]
pub static DISCONNECT_REASONS: [DisconnectReason; 43] = [
    reason(1001, "NORMAL", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Common, Fault::Of(FaultDomain::None), ["ended without an error", "nothing: calls end so"]),
    reason(1002, "DECLINE", CallType::Both, &[Releaser::Callee, Releaser::CloudServer], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the callee rejected the call; in a group call, an earlier join was declined on re-join", "nothing"]),
    reason(1003, "CELL_CALL", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["a cellular call interrupted the call", "nothing"]),
    reason(1109, "INTERNAL_ERROR", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant, Releaser::CloudServer], DocumentedClass::Error, Fault::ByReleaser, ["internal error: platform if the releaser is cloud_server, otherwise client", "released by cloud_server: ask LINE Planet, with session IDs; else look for a release of the app or the SDK"]),
    reason(1110, "USER_ERROR", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::AppServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["error defined by the application; user_rel_code carries it", "look the code in user_rel_code up in the app: the app itself ended the call with it"]),
    reason(1111, "INTERNAL_KIT_ERROR", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Client), ["error specific to the device's operating system", "look for one operating system or device among the calls, and for a release of the app or the SDK"]),
    reason(1112, "AUDIO_TX_NO_SRC", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Client), ["the microphone delivered no audio for a while", "look whether the app may use the microphone: a permission, another app that holds it, a release of the app"]),
    reason(1201, "CANCEL", CallType::OneToOne, &[Releaser::Caller], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the caller hung up before the callee answered", "nothing; if it grows, see how long callers wait (time to answer)"]),
    reason(1202, "BUSY", CallType::OneToOne, &[Releaser::Callee], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the callee is in another call", "nothing"]),
    reason(1203, "NOANSWER", CallType::OneToOne, &[Releaser::Caller], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the callee did not answer (the caller waits 60 s)", "nothing; if it grows with none answered, see whether pushes reach phones"]),
    reason(1204, "ALREADY_GOT_A_CALL", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the callee is already being called", "nothing"]),
    reason(1205, "MULTIDEV_IN_USE", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the same user is in a call on another device", "nothing"]),
    reason(1206, "MULTIDEV_ANSWER", CallType::OneToOne, &[Releaser::CloudServer], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the same user answered on another device", "nothing"]),
    reason(1207, "MULTIDEV_DECLINE", CallType::OneToOne, &[Releaser::CloudServer], DocumentedClass::Common, Fault::Of(FaultDomain::User), ["the same user declined on another device", "nothing"]),
    reason(1208, "MAX_CALL_TIME_EXCEEDED", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Common, Fault::Of(FaultDomain::None), ["the longest permitted call time was reached", "nothing; the limit is LINE Planet's"]),
    reason(1301, "NETWORK_UNSTABLE", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant, Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Network), ["the network could not carry the call", "compare IDCs and countries: one carrier is theirs, one IDC LINE Planet's"]),
    reason(1302, "PUSH_ERROR", CallType::OneToOne, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["the app server's notify callback failed or could not be reached", "look at our server's notify callback: is it up, fast, reachable from outside, and does it answer 200?"]),
    reason(1303, "AUTH_ERROR", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["authentication failed", "look at what issues access tokens, and at the API key of the service"]),
    reason(1304, "RELEASED_CALL", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::User), ["the call had already been released (for example cancelled at the same moment)", "nothing"]),
    reason(1305, "SERVER_INTERNAL_ERROR", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Platform), ["internal error of a LINE Planet server", "ask LINE Planet, with IDC, time and session IDs"]),
    reason(1308, "UNAVAILABLE_NETWORK", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Network), ["no network to keep the call", "compare IDCs and countries; a growth everywhere is a carrier or the app's network permission"]),
    reason(1309, "APP_DESTROY", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Client), ["the app was killed or the device powered off", "look for crashes of the app after its latest release"]),
    reason(1310, "SYSTEM_SLEEP", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Client), ["the device went to sleep", "look whether the app keeps the device awake during calls"]),
    reason(1311, "SYSTEM_LOGOFF", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Client), ["the device's user session logged off", "nothing"]),
    reason(1312, "MTU_EXCEEDED", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Network), ["no connection because the MTU was exceeded", "look for a VPN or a carrier with a small MTU among the calls"]),
    reason(1313, "APP_SERVER_DATA_ERROR", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["app server data could not be delivered to the app server", "look at our server: is it up, reachable from outside, and was it released lately?"]),
    reason(1314, "DESKTOP_SCREEN_LOCKED", CallType::Both, &[Releaser::Caller, Releaser::Callee, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Client), ["the desktop's screen was locked", "nothing"]),
    reason(1401, "ROOM_IS_FULL", CallType::Group, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["the room reached its limit of participants", "raise the room's limit, or say in the app that the room is full"]),
    reason(1402, "ALONE_KICK_OUT", CallType::Group, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::User), ["a participant stayed alone in the room too long", "nothing"]),
    reason(1404, "ROOM_NOT_FOUND", CallType::Group, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::User), ["the room closed while the participant was joining", "nothing"]),
    reason(1405, "ANOTHER_INSTANCE_TRY_TO_JOIN", CallType::Group, &[Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::User), ["the same participant joined from another instance", "nothing; if it grows, look whether the app joins twice"]),
    reason(1501, "SERVICE_ACCESS_TOKEN_ERROR", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["invalid access token", "look at what issues access tokens: has a key expired or been replaced, does its clock run right?"]),
    reason(1502, "SERVICE_INVALID_ID", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["a service ID or user ID has a character that is not allowed", "look at the service ID and user IDs that the app sends: a character is not allowed"]),
    reason(1503, "SERVICE_MAINTENANCE", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Platform), ["LINE Planet is under maintenance", "look whether LINE Planet announced it; wait for its end"]),
    reason(1504, "SERVICE_BUSY", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Platform), ["the LINE Planet gateway is busy", "ask LINE Planet, with IDC and time"]),
    reason(1505, "SERVICE_INTERNAL_ERROR", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Platform), ["internal error of the LINE Planet gateway", "ask LINE Planet, with IDC, time and session IDs"]),
    reason(1506, "SERVICE_HTTP_ERROR", CallType::Both, &[Releaser::Caller, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Network), ["the client's HTTP request failed (firewall, anti-virus)", "look for a firewall or an anti-virus program among the callers; one company's network is theirs"]),
    reason(1507, "SERVICE_HTTP_CONNECTION_TIME_OUT", CallType::Both, &[Releaser::Caller, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Network), ["the client's HTTP connection timed out", "compare countries: a network on the way; everywhere, ask LINE Planet"]),
    reason(1508, "SERVICE_HTTP_INVALID_PEER_CERT", CallType::Both, &[Releaser::Caller, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Network), ["the peer's TLS certificate was invalid", "look for a proxy that opens TLS, and for devices with a wrong clock"]),
    reason(1509, "SERVICE_HTTP_CONNECT_FAIL", CallType::Both, &[Releaser::Caller, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Network), ["the client's HTTP connection failed", "compare countries: a network on the way; everywhere, ask LINE Planet"]),
    reason(1510, "SERVICE_HTTP_INVALID_URL", CallType::Both, &[Releaser::Caller, Releaser::Participant], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["the URL is invalid, or its host or proxy could not be resolved", "look at the URL that the app gives the SDK, and at its DNS"]),
    reason(1511, "SERVICE_INCOMPATIBLE_PLANETKIT_VER", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["the client's PlanetKit is too old", "release the app with a newer PlanetKit; make people update"]),
    reason(1512, "SERVICE_TOO_MANY_REQUESTS", CallType::Both, &[Releaser::CloudServer], DocumentedClass::Error, Fault::Of(FaultDomain::Application), ["too many call attempts in a short time", "look for an app that calls in a loop; ask LINE Planet for a higher limit"]),
];

const fn reason(
    code: i64,
    name: &'static str,
    call_type: CallType,
    sources: &'static [Releaser],
    documented_class: DocumentedClass,
    fault: Fault,
    [meaning, first_action]: [&'static str; 2],
) -> DisconnectReason {
    DisconnectReason { code, name, call_type, sources, documented_class, fault, meaning, first_action }
}

#[cfg(test)]
mod tests;
