//! What older SDKs and servers say of the end of a call: disconnect reasons that newer SDKs do not send any more, and the
//! end reason of the older generation of the callback.
//!
//! Sources: a C++ header of PlanetKit; LINE's documents of the callback of 2020 and 2021. The numbers of an end reason overlap
//! with those of disconnect reasons and mean something else, so that neither is ever read as the other, and labels of end
//! reasons begin with `LEGACY_`.

use super::{CallType, DisconnectReason, DocumentedClass, Fault, FaultDomain, Releaser};

/// A disconnect reason that newer SDKs do not send any more.
#[derive(Debug, PartialEq, Eq)]
pub struct DeprecatedReason {
    /// The number in `disconnect_reason`.
    pub code: i64,
    /// Its name in the header. Of the two codes with one name, the first is for the local side, the second for the remote one.
    pub name: &'static str,
    /// The code that newer SDKs send instead, whose label and fault domain it has.
    pub newer: i64,
}

/// Every deprecated code that has a newer kin, in their order.
pub static DEPRECATED_REASONS: [DeprecatedReason; 10] = [
    deprecated(1101, "AUDIO_TX_NO_SRC", 1112),
    deprecated(1102, "AUDIO_TX_NO_SRC", 1112),
    deprecated(1103, "INTERNAL_ERROR", 1109),
    deprecated(1104, "INTERNAL_ERROR", 1109),
    deprecated(1105, "USER_ERROR", 1110),
    deprecated(1106, "USER_ERROR", 1110),
    deprecated(1107, "INTERNAL_KIT_ERROR", 1111),
    deprecated(1108, "INTERNAL_KIT_ERROR", 1111),
    deprecated(1306, "UNAVAILABLE_BAD_NETWORK_IN_CONFERENCE", 1308),
    deprecated(1307, "UNAVAILABLE_NETWORK_IN_CALL", 1308),
];

/// The deprecated code without a newer kin. A room's attributes are set by the service.
pub static WRONG_ROOM_ATTR: DisconnectReason = DisconnectReason {
    code: 1403,
    name: "WRONG_ROOM_ATTR",
    call_type: CallType::Group,
    sources: &[Releaser::CloudServer],
    documented_class: DocumentedClass::Error,
    fault: Fault::Of(FaultDomain::Application),
    meaning: "the room has other attributes than the participant expected",
    first_action: "compare the attributes that the app gives when it opens and when it joins a room",
};

const fn deprecated(code: i64, name: &'static str, newer: i64) -> DeprecatedReason {
    DeprecatedReason { code, name, newer }
}

/// The reason that stands for a deprecated code, or `None` for another code.
pub(super) fn newer_kin(code: i64) -> Option<&'static DisconnectReason> {
    if code == WRONG_ROOM_ATTR.code {
        return Some(&WRONG_ROOM_ATTR);
    }
    let deprecated = DEPRECATED_REASONS.iter().find(|deprecated| deprecated.code == code)?;
    DisconnectReason::from_code(deprecated.newer)
}

/// Why a call ended, as the older generation of the callback says it (`call_end_reason`).
#[derive(Debug, PartialEq, Eq)]
pub struct CallEndReason {
    /// The number in `call_end_reason`.
    pub code: i64,
    /// The value of the label `disconnect_reason`.
    pub label: &'static str,
    /// Whose fault it is.
    pub fault_domain: FaultDomain,
}

impl CallEndReason {
    /// The reason with this code, or `None` for a code that the documents do not have.
    pub fn from_code(code: i64) -> Option<&'static CallEndReason> {
        CALL_END_REASONS.iter().find(|reason| reason.code == code)
    }
}

/// Every end reason of the older generation, in the order of the codes. Where two codes have one name in the documents, the
/// first is the caller's and the second the callee's.
pub static CALL_END_REASONS: [CallEndReason; 24] = [
    ended(1000, "LEGACY_CALLER_CANCEL", FaultDomain::User),
    ended(1001, "LEGACY_CALLEE_BUSY", FaultDomain::User),
    ended(1002, "LEGACY_CALLEE_NO_ANSWER", FaultDomain::User),
    ended(1003, "LEGACY_CALLEE_REJECT", FaultDomain::User),
    ended(1004, "LEGACY_CALLER_END", FaultDomain::None),
    ended(1005, "LEGACY_CALLEE_END", FaultDomain::None),
    ended(1010, "LEGACY_CALLER_NETWORK_ERROR", FaultDomain::Network),
    ended(1011, "LEGACY_CALLEE_NETWORK_ERROR", FaultDomain::Network),
    ended(1012, "LEGACY_CALLER_DEVICE_ERROR", FaultDomain::Client),
    ended(1013, "LEGACY_CALLEE_DEVICE_ERROR", FaultDomain::Client),
    ended(1014, "LEGACY_CALLER_PHONECALL_EVT", FaultDomain::User),
    ended(1015, "LEGACY_CALLEE_PHONECALL_EVT", FaultDomain::User),
    ended(1016, "LEGACY_CALLER_SYSTEM_ERROR", FaultDomain::Client),
    ended(1017, "LEGACY_CALLEE_SYSTEM_ERROR", FaultDomain::Client),
    ended(1018, "LEGACY_CALLER_AUTH_FAIL", FaultDomain::Application),
    ended(1019, "LEGACY_CALLEE_AUTH_FAIL", FaultDomain::Application),
    ended(1020, "LEGACY_PUSH_ERROR", FaultDomain::Application),
    ended(1021, "LEGACY_SERVER_INTERNAL_ERROR", FaultDomain::Platform),
    ended(1022, "LEGACY_CALLER_INTERNAL_ERROR", FaultDomain::Client),
    ended(1023, "LEGACY_CALLEE_INTERNAL_ERROR", FaultDomain::Client),
    ended(1024, "LEGACY_OTHER_DEV_IN_USE", FaultDomain::User),
    ended(1025, "LEGACY_CALLER_PROTOCOL_ERROR", FaultDomain::Client),
    ended(1026, "LEGACY_CALLEE_PROTOCOL_ERROR", FaultDomain::Client),
    ended(1100, "LEGACY_UNKNOWN_ERROR", FaultDomain::Unknown),
];

const fn ended(code: i64, label: &'static str, fault_domain: FaultDomain) -> CallEndReason {
    CallEndReason { code, label, fault_domain }
}
