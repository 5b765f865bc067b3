//! The call event of LINE Planet's documentation, behind its session ID.

/// As it is documented.
pub(crate) const PLAIN: &str = "&type=V&from_user_id=9286&from_service_id=caller-service-id&to_user_id=2809\
     &to_service_id=callee-service-id&setup_time=1582527400&start_time=1582527404&end_time=1582527434&duration=30\
     &terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next&rel_code=1&rel_code_str=NORMAL&billing_sec=25\
     &rc_idc=KR&disconnect_reason=1001&releaser_type=1&app_svr_data=appSvrData";

/// The same with values that are encoded.
pub(crate) const ENCODED: &str = "&type=V&from_user_id=9286&from_service_id=caller-service-id&to_user_id=2809\
     &to_service_id=callee-service-id&setup_time=1582527400&start_time=1582527404&end_time=1582527434&duration=30\
     &terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next&rel_code=1&rel_code_str=NORMAL+CLEARING&billing_sec=25\
     &rc_idc=KR&disconnect_reason=1001&releaser_type=1&app_svr_data=%7B%22room%22%3A%227%22%7D";

/// The query of a call with this number.
pub(crate) fn query(number: usize, behind_sid: &str) -> String {
    format!("sid=6364e8b3-bdac-436e-9631-{number:012x}{behind_sid}")
}
