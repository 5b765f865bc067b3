//! wrk on the second core, which sends calls over keep-alive connections, each with a session ID of its own.

use std::path::PathBuf;
use std::process::Command;

use super::Result;

/// One session ID a request, told apart by connection, round and a counter, and one of 9,000 callers, as calls of one
/// caller go to the service behind one after another; the rest is the documented sample.
const SCRIPT: &str = r#"
local round = tonumber(os.getenv("ROUND")) + 16 * tonumber(os.getenv("CONNECTIONS"))
local count = 0
local before = wrk.path .. "?sid="
local between = "&type=V&from_user_id="
local after = "&from_service_id=caller-service-id&to_user_id=2809" ..
  "&to_service_id=callee-service-id&setup_time=1582527400&start_time=1582527404&end_time=1582527434&duration=30" ..
  "&terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next&rel_code=1&rel_code_str=NORMAL&billing_sec=25" ..
  "&rc_idc=KR&disconnect_reason=1001&releaser_type=1&app_svr_data=appSvrData"
function request()
  count = count + 1
  local sid = string.format("6364e8b3-%04x-436e-9631-%012x", round, count)
  local caller = 1000 + count % 9000
  return "GET " .. before .. sid .. between .. caller .. after .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
end
"#;

/// What wrk saw.
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) requests_a_second: f64,
    pub(crate) p50: String,
    pub(crate) p99: String,
    /// Microseconds of a processor for each, which whoever loads a server fills in.
    pub(crate) time: f64,
}

/// wrk with the file that says what it sends, which goes with it.
pub(crate) struct Wrk {
    script: PathBuf,
}

impl Wrk {
    /// Writes the file.
    pub(crate) fn new() -> Result<Wrk> {
        let script = std::env::temp_dir().join(format!("call-events-{}.lua", std::process::id()));
        std::fs::write(&script, SCRIPT)?;
        Ok(Wrk { script })
    }

    /// Loads the server at this URL. Rounds and numbers of connections have session IDs of their own.
    pub(crate) fn load(&self, url: &str, connections: u32, seconds: u32, round: usize) -> Result<Load> {
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "--latency"])
            .args([&format!("-c{connections}"), &format!("-d{seconds}s")])
            .arg("-s")
            .arg(&self.script)
            .arg(url)
            .env("ROUND", round.to_string())
            .env("CONNECTIONS", connections.to_string())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("wrk saw failures:\n{text}").into());
        }
        let after = |name: &str| {
            text.lines().find_map(|line| line.trim().strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let missing =
            || format!("wrk printed no figures:\n{text}{}", String::from_utf8_lossy(&output.stderr));
        let requests = text.lines().find_map(|line| line.split_once(" requests in ")).ok_or_else(missing)?.0;
        let requests = requests.trim().parse()?;
        let requests_a_second = after("Requests/sec:").ok_or_else(missing)?.parse()?;
        let p50 = after("50%").ok_or_else(missing)?;
        let p99 = after("99%").ok_or_else(missing)?;
        Ok(Load { requests, requests_a_second, p50, p99, time: 0.0 })
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        // It is a small file in the directory of temporary ones.
        let _ = std::fs::remove_file(&self.script);
    }
}
