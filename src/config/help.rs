//! The help: every flag in a group, with what `-h` says of it in half a line, if anything, and why one would set it.
//!
//! What a flag is stands at its field in [`Config`](super::Config). `-h` fits a screen; `--help` and the manual page
//! have all of it.

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::CommandLine;

/// Which help is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// That of `-h`: what is set often, a line each.
    Short,
    /// That of `--help`.
    Long,
}

/// The command line with its help.
pub fn command(extent: Extent) -> Command {
    described(CommandLine::command(), extent)
        .mut_subcommands(|subcommand| {
            let short = COMMANDS.iter().find(|(name, _)| *name == subcommand.get_name());
            let subcommand = described(subcommand, extent);
            match short {
                Some((_, short)) if extent == Extent::Short => subcommand.about(*short),
                _ => subcommand,
            }
        })
        // What -h shows needs no line for it.
        .disable_help_subcommand(extent == Extent::Short)
        .after_help(SHORT_END)
        .after_long_help(LONG_END)
}

/// A command with its flags in groups.
fn described(command: Command, extent: Extent) -> Command {
    let command = command.mut_args(|argument| {
        let find = |(heading, flags): &(&'static str, &'static [Flag])| {
            Some((*heading, flags.iter().find(|flag| argument.get_long() == Some(flag.name))?))
        };
        match GROUPS.iter().find_map(find) {
            Some((heading, flag)) => flag.describe(argument, extent).help_heading(heading),
            None => argument,
        }
    });
    match extent {
        Extent::Long => command.next_line_help(true),
        // Who sees it knows -h, and its end names the others.
        Extent::Short => {
            let hidden = |name, action| Arg::new(name).long(name).action(action).hide(true);
            let version = command.get_version().map(|_| hidden("version", ArgAction::Version).short('V'));
            let command = command.disable_help_flag(true).disable_version_flag(true);
            command.arg(hidden("help", ArgAction::HelpShort).short('h')).args(version)
        }
    }
}

/// What `-h` says of each command.
const COMMANDS: [(&str, &str); 12] = [
    ("state", "Show what is in a state directory"),
    ("why", "Say what failing calls have in common"),
    ("report", "Report failed calls to LINE Planet's support"),
    ("check", "Say what a start with these flags and variables would do"),
    ("replay", "Send refused requests or stored events again"),
    ("drain", "Have an exporter on this host drain"),
    ("wait", "Wait until an exporter on this host is ready"),
    ("probe", "Ask an exporter on this host how it is"),
    ("canary", "See whether call events get to an exporter from here"),
    ("demo", "Run with simulated calls and an incident under way"),
    ("completions", "Print the completions of a shell"),
    ("man", "Print a manual page"),
];

/// What the help has of a flag beside what it is.
struct Flag {
    name: &'static str,
    /// What `-h` says; `None` if it leaves the flag out.
    short: Option<&'static str>,
    why: &'static str,
}

impl Flag {
    fn describe(&self, argument: Arg, extent: Extent) -> Arg {
        match (extent, self.short) {
            (Extent::Short, Some(short)) => argument.help(short).hide_env(true).hide_possible_values(true),
            (Extent::Short, None) => argument.hide_short_help(true),
            (Extent::Long, _) => {
                let what = argument.get_help().map(ToString::to_string).unwrap_or_default();
                let why = self.why;
                argument.long_help(format!("{what}. {why}"))
            }
        }
    }
}

/// A flag that `-h` shows.
const fn often(name: &'static str, short: &'static str, why: &'static str) -> Flag {
    Flag { name, short: Some(short), why }
}

/// A flag that only `--help` shows.
const fn rare(name: &'static str, why: &'static str) -> Flag {
    Flag { name, short: None, why }
}

/// Every flag, by the heading of its group.
const GROUPS: [(&str, &[Flag]); 6] = [
    (
        "Call events",
        &[
            often(
                "listen",
                "Address for call events",
                "Set it where another program has the port, or where only one address may be reached.",
            ),
            often(
                "call-event-path",
                "Path as registered with LINE Planet",
                "Set it if your callback URL has another path, or a query of its own.",
            ),
            often(
                "call-event-secret-file",
                "Secret that the registered URL carries",
                "Set it so that nobody else can send calls: LINE Planet does not sign its requests.",
            ),
            rare(
                "probe-status",
                "Set it to 400 if your service refuses such a test and callers count on that.",
            ),
            rare(
                "readiness-path",
                "Set it for a load balancer that checks this port while a service is behind it.",
            ),
            often(
                "canary-url",
                "Public callback URL, tested once a minute",
                "Set it to be alerted when calls no longer get through.",
            ),
            rare("canary-interval", "Shorten it to be told sooner."),
        ],
    ),
    (
        "Metrics",
        &[
            often(
                "admin-listen",
                "Where /metrics, /livez and /readyz are",
                "Set it where another program has the port, or to show metrics to one network only.",
            ),
            rare(
                "admin-web-config-file",
                "Set it where others reach the port than Prometheus and health checks.",
            ),
            rare("admin-bearer-token-file", "Set it instead of users and passwords, or beside them."),
            rare(
                "admin-trust-loopback",
                "Set it to never if a mesh in the pod delivers from 127.0.0.1, and to always if one does not and auto is off.",
            ),
            rare(
                "admin-quit",
                "Set it to true in the pod of a Job whose exporter is no native sidecar, so that the Job can end it.",
            ),
            often(
                "idcs",
                "IDCs to expect, such as KR,JP",
                "Set it so that alerts and dashboards know an IDC before its first call.",
            ),
            often(
                "services",
                "Services to tell apart by a label",
                "Set it if several of your services send their calls here.",
            ),
            rare(
                "longest-call",
                "Raise it if your calls last longer; lower it to catch wrong clocks sooner.",
            ),
            rare("duration-buckets", "Set them if the lengths that you care about lie between two of these."),
            rare("setup-buckets", "Set them if your limit for the time to answer is none of these."),
            rare(
                "max-series",
                "Lower it to protect a small Prometheus; raise it if calls fall to \"other\".",
            ),
            rare(
                "series-zero-for",
                "Raise it if Prometheus may be away for longer when a new series appears.",
            ),
            rare("created-series", "Set it to true for a receiver of OpenMetrics that uses these times."),
        ],
    ),
    (
        "State",
        &[
            often(
                "state-dir",
                "Keeps totals across restarts [default: none]",
                "Set it, on a volume that lasts, so that no call is lost or counted twice, whatever dies.",
            ),
            rare(
                "state-ephemeral",
                "Set it to true if the directory is in an emptyDir, so that no call is acknowledged that dies with the pod.",
            ),
            rare(
                "state-lock-wait",
                "Set it where the next process may start before the last one has ended, as in a StatefulSet.",
            ),
            rare(
                "state-max-bytes",
                "Set it to what the volume can spare; more bridges a longer outage of a collector or the service.",
            ),
            rare("state-max-age", "Lower it if old spans and callbacks are of no use to the receiver."),
            rare("segment-age", "Lower it if user IDs have to leave the disk sooner."),
            rare(
                "seen-max",
                "Raise it if more calls than this end within --seen-age; lower it to save memory.",
            ),
            rare("seen-age", "Set it to how long after a call its event may be repeated."),
            rare("refused-max", "Raise it to look further back after a slip in a URL; 0 keeps none."),
            rare("refused-age", "Lower it if what names people has to go sooner."),
            rare("backlog-max-bytes", "Raise it to bridge longer outages; lower it to save memory."),
        ],
    ),
    (
        "What is sent on about each call",
        &[
            often(
                "identity",
                "drop, hash or keep user IDs and addresses",
                "Set it to hash to follow a user without a name, or to keep if you may store names.",
            ),
            often(
                "identity-key-file",
                "Key of --identity hash",
                "Set it to a secret of your own: without it nobody can tell who is behind a hash.",
            ),
            often(
                "call-log",
                "Each call to stdout as JSON, or by otlp",
                "Set it to have every call in the log system that you already have.",
            ),
            rare("trace-url", "Set it to get from a call to its trace with a click."),
            often(
                "forward-to",
                "Passes callbacks on to this URL",
                "Set it if the URL that you register with LINE Planet becomes the exporter's in place of your service's.",
            ),
            often(
                "forward-mode",
                "stored: retried; inline: passed at once",
                "Set it to inline if LINE Planet has to see the service's own answer.",
            ),
            rare(
                "forward-timeout",
                "Raise it if the service takes longer; lower it to notice sooner that it hangs.",
            ),
            rare("forward-concurrency", "Lower it for a service that a few concurrent requests overload."),
            rare("forward-max-age", "Lower it if a late call event does the service more harm than good."),
        ],
    ),
    (
        "Connections",
        &[
            often(
                "max-connections",
                "Open connections of each listener",
                "Raise it for a proxy that keeps many open; lower it to save memory.",
            ),
            rare(
                "max-connections-per-peer",
                "Set it where clients come without a proxy, so that none takes all connections.",
            ),
            rare("allow-from", "Set it if LINE Planet has told you where its requests come from."),
            rare("max-rate", "Set it so that one peer cannot flood the numbers with forged calls."),
            rare("max-uri-bytes", "Lower it to save memory; it is more than LINE Planet sends."),
            rare(
                "trusted-proxies",
                "Set it to where your load balancers are, and to nothing else: what they say of a client is believed.",
            ),
            rare(
                "proxy-protocol",
                "Set it to required if one is in front and addresses of clients matter to you.",
            ),
            rare("tls-cert-file", "Set it where nothing in front of the exporter ends TLS."),
            rare("tls-key-file", "It belongs to the certificate."),
            rare("tls-client-ca-file", "Set it if whoever sends call events can show a certificate."),
            rare(
                "header-timeout",
                "Raise it for clients on slow networks; lower it to drop those that only occupy places.",
            ),
            rare("idle-timeout", "Keep it above that of the proxy in front; lower it if there is none."),
            rare(
                "worker-threads",
                "Lower it to save memory; raise it if one exporter takes more than ten thousand calls a second, with TLS or a service behind.",
            ),
        ],
    ),
    (
        "Startup, shutdown and logging",
        &[
            often(
                "drain-time",
                "Time to go on serving after SIGTERM",
                "Set it to how long your load balancer takes to notice that a pod is not ready.",
            ),
            rare(
                "shutdown-timeout",
                "Raise it if the last spans take longer; together they have to fit into the grace period of a pod.",
            ),
            rare(
                "log-format",
                "Set it if your log system reads one of them and the exporter guesses the other.",
            ),
            often(
                "log-level",
                "error, warn, info, debug, trace or directives",
                "Set it to debug to see why each request was refused.",
            ),
        ],
    ),
];

/// The end of `-h`.
const SHORT_END: &str = "\
Each flag has an environment variable: --listen is PLANET_LISTEN. OTLP is set by OTEL_EXPORTER_OTLP_ENDPOINT.
More flags and examples: --help, docs/configuration.md, docs/otlp.md. Also: --version.";

/// The end of `--help`.
const LONG_END: &str = "\
Examples:
  Count calls in memory, and send the sample call that the log shows:
    planet-call-exporter

  Keep totals across restarts, and expect calls in two IDCs:
    planet-call-exporter --state-dir /data --idcs KR,JP

  Stand in front of a service, which still gets every callback:
    planet-call-exporter --forward-to http://127.0.0.1:8080 --state-dir /data

  Push metrics and spans to a collector:
    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 planet-call-exporter

  See what a start with these flags and variables would do, without one:
    planet-call-exporter check --connect --forward-to http://127.0.0.1:8080

OTLP is on for a signal when OTEL_EXPORTER_OTLP_ENDPOINT, or its form for the signal, is set, or when OTEL_METRICS_EXPORTER or \
OTEL_TRACES_EXPORTER is otlp. It follows the variables of the OpenTelemetry specification; docs/otlp.md has each of them and \
what becomes of it. A Prometheus that scrapes and gets the pushes too has every call twice: \
OTEL_METRICS_EXPORTER=none pushes spans only.

Signals: SIGTERM and SIGINT end in order, and a second one at once. SIGHUP reads certificates, keys and secrets again.

docs/configuration.md has every flag and variable as a page; `planet-call-exporter man` prints a manual page.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_flag_is_in_one_group_and_says_why_one_would_set_it() {
        let command = Config::command();
        let flags = command.get_arguments().filter(|argument| argument.get_env().is_some());
        let mut flags: Vec<_> = flags.filter_map(|argument| argument.get_long()).collect();
        let rows = || GROUPS.iter().flat_map(|(_, flags)| *flags);
        let mut described: Vec<_> = rows().map(|flag| flag.name).collect();
        flags.sort_unstable();
        described.sort_unstable();
        assert_eq!(flags, described);
        for flag in rows() {
            assert!(flag.why.ends_with('.') && !flag.why.starts_with(' '), "{}", flag.name);
            // clap adds the default and the possible values behind it.
            let is_plain = |short: &str| !short.ends_with('.') && short.len() <= 50;
            assert!(flag.short.is_none_or(is_plain), "{}", flag.name);
        }
    }

    #[test]
    fn every_command_has_its_line() {
        let command = CommandLine::command();
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(names, COMMANDS.map(|(name, _)| name));
    }

    #[test]
    fn the_short_help_fits_a_screen() {
        let help = command(Extent::Short).term_width(100).render_help().to_string();
        let lines = help.lines().count();
        assert!((24..=50).contains(&lines), "{lines} lines:\n{help}");
        let rows = GROUPS.iter().flat_map(|(_, flags)| *flags).filter(|flag| flag.short.is_some()).count();
        let on_a_line =
            help.lines().filter(|line| line.trim_start().starts_with("--") && line.contains(">  "));
        assert_eq!(on_a_line.count(), rows, "each flag has a line, with what it is:\n{help}");
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{longest:?}:\n{help}");
        for (heading, _) in GROUPS {
            assert!(help.contains(&format!("\n{heading}:\n")), "{heading} in\n{help}");
        }
    }
}
