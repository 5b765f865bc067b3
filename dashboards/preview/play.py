#!/usr/bin/env python3
"""Plays the calls of some services, for Prometheus: `python3 dashboards/preview/play.py DIRECTORY`.

Writes DIRECTORY/played.om, samples for `promtool tsdb create-blocks-from openmetrics`, and DIRECTORY/truth.json, the calls that were played. Each service is
a job, and each job a state that dashboards must show: see STATES. All of it is made up, alerts included; what is random comes from --seed. Needs nothing but Python.
"""

import argparse
import bisect
import collections
import datetime
import json
import math
import pathlib
import random
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.dont_write_bytecode = True

from settings import SETTINGS

STEP = 30  # seconds between samples where somebody looks closely
COARSE = 240
HOUR, DAY, WEEK = 3600, 86400, 7 * 86400
START = 1773802980  # Wednesday, 18 March 2026, 03:03 UTC, unless --now says otherwise

State = collections.namedtuple("State", "rate idcs pushed incident gone sick", defaults=(False, None, None, False))
# An incident: minutes since it began, the IDC, or all, the share of its calls that fail, and of what.
Incident = collections.namedtuple("Incident", "minutes idc share reasons")
IDCS = {"KR": 0.6, "JP": 0.3, "TW": 0.1}
STATES = {
    "calm": State(40, IDCS),
    "incident": State(40, IDCS, incident=Incident(24, "JP", 0.65, {"SERVER_INTERNAL_ERROR": 0.8, "SERVICE_BUSY": 0.2})),
    "outage": State(40, IDCS, incident=Incident(24, None, 0.3, {"PUSH_ERROR": 1})),
    "quiet": State(1, IDCS),  # one call a minute
    "killed": State(40, IDCS, gone=5.5 * 60),
    "pushed": State(40, IDCS, pushed=True),
    "sick": State(40, IDCS, sick=True),
}
MEDIA = {"audio": 0.7, "video": 0.3}
# A reason: fault domain, releaser, Q.850 cause, its number, answered, usual share of calls.
REASONS = {
    "NORMAL": ("none", "caller", 16, 1001, True, 0.62),
    "NOANSWER": ("user", "caller", 18, 1203, False, 0.24),
    "CANCEL": ("user", "caller", 16, 1201, False, 0.1),
    "BUSY": ("user", "callee", 17, 1202, False, 0.034),
    "NETWORK_UNSTABLE": ("network", "callee", 16, 1301, True, 0.003),
    "INTERNAL_ERROR": ("client", "caller", 16, 1109, False, 0.002),
    "SERVICE_BUSY": ("platform", "cloud_server", 16, 1504, False, 0.0005),
    "SERVER_INTERNAL_ERROR": ("platform", "cloud_server", 16, 1305, False, 0.0002),
    "PUSH_ERROR": ("application", "cloud_server", 16, 1302, False, 0.0002),
    "SERVICE_ACCESS_TOKEN_ERROR": ("application", "cloud_server", 16, 1501, False, 0),
    "SERVICE_HTTP_CONNECTION_TIME_OUT": ("network", "caller", 16, 1507, False, 0),
    "1399": ("unknown", "cloud_server", 16, 1399, False, 0.0001),
}
DOMAINS = ("none", "user", "client", "network", "platform", "application", "unknown")
BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)


def poisson(chance, mean):
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count, product = count + 1, product * chance.random()
    return count


def is_abnormal(reason):
    return REASONS[reason][0] not in ("none", "user")


class Exporter:
    """One exporter: its series, by name and labels."""

    def __init__(self, job, instance, state, started):
        self.labels = f'job="{job}",instance="{instance}"'
        self.state, self.values, self.prefixes = state, {}, {}
        self.instance, self.starts, self.failed = instance, [started], 0
        self.setups = []  # (time, IDC, seconds) of answered calls
        self.recent = {(media, idc): collections.deque(maxlen=32) for media in MEDIA for idc in state.idcs}
        self.callers = collections.deque()
        for idc in state.idcs:
            for media in MEDIA:
                for domain in DOMAINS:
                    for answered in ("true", "false"):
                        self.add("planet_call_results_total", 0, media_type=media, idc=idc, fault_domain=domain, answered=answered)
            for media in MEDIA:
                for reason in REASONS:
                    self.release(0, media, idc, reason)
            for reason in filter(is_abnormal, REASONS):
                self.add("planet_call_abnormal_releases_total", 0, idc=idc, disconnect_reason=reason, fault_domain=REASONS[reason][0])
        for result in ("accepted", "duplicate", "refused", "unavailable", "undurable", "uncounted", "panicked", "wrong_path", "probe", "canary"):
            self.add("planet_exporter_events_total", 0, result=result)
        for kind in ("unknown_disconnect_reason", "impossible_duration", "contradicting_repeat"):
            self.add("planet_exporter_anomalies_total", 0, kind=kind)
        for sink in ("spans", "service"):
            for cause in ("backlog", "refused", "age"):
                self.add("planet_exporter_dropped_events_total", 0, sink=sink, cause=cause)
            self.set("planet_exporter_backlog", 0, sink=sink)
            self.set("planet_exporter_backlog_age_seconds", 0, sink=sink)
            self.set("planet_exporter_sink_gone", 0, sink=sink)
            self.add("planet_exporter_unordered_events_total", 0, sink=sink)
        for signal in ("traces", "call_events") + (("metrics",) if state.pushed else ()):
            for result in ("success", "partial", "retry", "refused"):
                self.add("planet_exporter_deliveries_total", 0, signal=signal, result=result)
            self.set("planet_exporter_misconfigured", 0, signal=signal)
        for listener in ("call_events", "admin"):
            self.set("planet_exporter_connections", 3, listener=listener)
            for name in ("evicted_connections", "rejected_connections", "accept_failures"):
                self.add(f"planet_exporter_{name}_total", 0, listener=listener)
        for error in ("unreachable", "timeout", "request_timeout", "bad_body", "aborted"):
            self.add("planet_exporter_proxy_failures_total", 0, error=error)
        for result in ("success", "timeout", "unreachable"):
            self.add("planet_exporter_canary_round_trips_total", 0, result=result)
        for limit in ("calls", "durations", "disconnect_reason"):
            self.add("planet_exporter_label_overflows_total", 0, limit=limit)
        for by in ("fold", "spans", "service"):
            self.add("planet_exporter_quarantined_events_total", 0, by=by)
        for name in ("storage_failing", "undurable_events", "journal_damaged_records", "refused_requests"):
            self.set(f"planet_exporter_{name}", 0)
        self.set("planet_exporter_build_info", 1, version="0.4.1" if state.sick else "0.4.2")
        self.set("planet_exporter_journal_size_bytes", 3_400_000)
        self.set("planet_exporter_seen_sids", 90_000)
        self.set("planet_call_last_event_time_seconds", started)
        if not state.pushed:
            self.set("process_start_time_seconds", started)
            self.set("process_resident_memory_bytes", 31_000_000)

    def key(self, name, labels):
        key = (name, *labels.values())
        if key not in self.prefixes:
            more = "".join(f',{label}="{value}"' for label, value in labels.items())
            self.prefixes[key] = f"{name}{{{self.labels}{more}}}"
        return key

    def set(self, name, value, **labels):
        self.values[self.key(name, labels)] = value

    def add(self, name, number, **labels):
        key = self.key(name, labels)
        self.values[key] = self.values.get(key, 0) + number

    def observe(self, name, seconds, **labels):
        for bound in BUCKETS[bisect.bisect_left(BUCKETS, seconds):]:
            self.add(f"{name}_bucket", 1, **labels, le=bound)
        self.add(f"{name}_bucket", 1, **labels, le="+Inf")
        self.add(f"{name}_sum", seconds, **labels)
        self.add(f"{name}_count", 1, **labels)

    def release(self, number, media, idc, reason):
        domain, releaser, cause, code, is_answered, _ = REASONS[reason]
        answered = str(is_answered).lower()
        self.add("planet_calls_total", number, media_type=media, idc=idc, disconnect_reason=reason, fault_domain=domain, releaser=releaser, answered=answered)
        self.add("planet_call_results_total", number, media_type=media, idc=idc, fault_domain=domain, answered=answered)
        self.add("planet_call_releases_total", number, terminate=cause, rel_code=code, rel_code_str=reason)

    def call(self, chance, media, idc, reason, time):
        domain, _, _, _, is_answered, _ = REASONS[reason]
        answered = str(is_answered).lower()
        self.release(1, media, idc, reason)
        self.recent[media, idc].append(is_abnormal(reason))
        if is_abnormal(reason):
            self.add("planet_call_abnormal_releases_total", 1, idc=idc, disconnect_reason=reason, fault_domain=domain)
            # A caller tries three times.
            self.callers.append((time, idc, chance.randrange(10**6) if len(self.callers) % 3 == 0 else self.callers[-1][2]))
        if is_answered:
            seconds = 95 * math.exp(chance.gauss(0, 1.1))
            self.observe("planet_call_duration_seconds", seconds, media_type=media, idc=idc)
            self.add("planet_call_billed_seconds_total", math.ceil(seconds), media_type=media, idc=idc)
        setup = 6 * math.exp(chance.gauss(0, 0.6))
        if is_answered:
            self.setups.append((time, idc, setup))
        self.observe("planet_call_setup_duration_seconds", setup, media_type=media, idc=idc, answered=answered)
        self.add("planet_exporter_events_total", 1, result="accepted")
        self.add("planet_exporter_requests_total", 1, code=200)
        self.observe("planet_exporter_request_duration_seconds", 0.004)
        self.observe("planet_exporter_journal_sync_duration_seconds", 0.003)
        for signal in ("traces", "call_events"):
            self.add("planet_exporter_deliveries_total", 1, signal=signal, result="success")
        self.set("planet_call_last_event_time_seconds", time)

    def rest(self, now, time):
        """What goes on beside the calls."""
        for (media, idc), last in self.recent.items():
            self.set("planet_call_recent_abnormal", sum(last), media_type=media, idc=idc)
            self.set("planet_call_recent_calls", len(last), media_type=media, idc=idc)
        while self.callers and self.callers[0][0] <= time - HOUR:
            self.callers.popleft()
        for idc in self.state.idcs:
            for window, minutes in (("5m", 5), ("60m", 60)):
                callers = {caller for at, of, caller in self.callers if of == idc and at > time - 60 * minutes}
                self.set("planet_call_abnormal_callers", len(callers), idc=idc, window=window)
        self.add("planet_exporter_canary_round_trips_total", 1, result="success")
        if self.state.pushed:
            self.add("planet_exporter_deliveries_total", 1, signal="metrics", result="success")
        if self.state.sick and time > now - 18 * 60:
            self.failed += 1
            self.add("planet_exporter_deliveries_total", 1, signal="traces", result="retry")
            self.set("planet_exporter_backlog", (time - now + 18 * 60) // 2, sink="spans")
            self.set("planet_exporter_backlog_age_seconds", time - now + 18 * 60, sink="spans")
            if "voice-1" in self.labels:
                self.set("planet_exporter_storage_failing", int(time > now - 4 * 60))
            elif (time - now) % 300 == 0:
                self.starts.append(time - 4)
                self.set("process_start_time_seconds", time - 4)


class Service:
    """A job with two exporters, which share its calls."""

    def __init__(self, job, state, now, began, chance):
        self.job, self.state, self.now, self.chance = job, state, now, chance
        self.exporters = [Exporter(job, f"voice-{number}", state, began) for number in range(2)]
        self.calls = []  # (end of the step, media, idc, reason)

    def shares(self, idc, time):
        shares = {reason: each[-1] for reason, each in REASONS.items()}
        incident = self.state.incident
        if incident and incident.idc in (idc, None) and time > self.now - 60 * incident.minutes:
            shares = {reason: share * (1 - incident.share) for reason, share in shares.items()}
            for reason, share in incident.reasons.items():
                shares[reason] += share * incident.share
        return shares

    def is_gone(self, time):
        return self.state.gone is not None and time > self.now - self.state.gone

    def advance(self, time, seconds):
        if self.is_gone(time):
            return
        for idc, of_idc in self.state.idcs.items():
            shares = self.shares(idc, time)
            for media, of_media in MEDIA.items():
                number = poisson(self.chance, self.state.rate * seconds / 60 * of_idc * of_media)
                for reason in self.chance.choices(list(shares), list(shares.values()), k=number):
                    exporter = self.exporters[len(self.calls) % 2]
                    exporter.call(self.chance, media, idc, reason, time)
                    self.calls.append((time, media, idc, reason))
        for exporter in self.exporters:
            exporter.rest(self.now, time)

    def write(self, file, time):
        is_gone = self.is_gone(time)
        for exporter in self.exporters:
            if not self.state.pushed:
                file.write(f"up{{{exporter.labels}}} {int(not is_gone)} {time}\n")
            if not is_gone:
                file.writelines(f"{exporter.prefixes[key]} {value} {time}\n" for key, value in exporter.values.items())
        for name, labels, since in self.alerts():
            if time >= since:
                file.write(f'ALERTS{{alertname="{name}",alertstate="firing",job="{self.job}",{labels}}} 1 {time}\n')
                file.write(f'ALERTS_FOR_STATE{{alertname="{name}",job="{self.job}",{labels}}} {since} {time}\n')

    def alerts(self):
        """What the rules would say about it."""
        state, now = self.state, self.now
        if state.incident:
            began = now - 60 * state.incident.minutes + 120
            if state.incident.idc:
                yield "PlanetIdcAbnormalFast", f'idc="{state.incident.idc}",severity="page"', began
            else:
                yield "PlanetPushError", 'disconnect_reason="PUSH_ERROR",severity="page"', began
        if state.gone is not None:
            yield "PlanetExporterDown", 'severity="page"', now - 2 * 60
        if state.sick:
            yield "PlanetExporterRestarts", 'instance="voice-0",severity="page"', now - 5 * 60
            yield "PlanetStorageFailing", 'instance="voice-1",severity="page"', now - 3 * 60
            for instance in ("voice-0", "voice-1"):
                yield "PlanetBacklogOld", f'sink="spans",instance="{instance}",severity="ticket"', now - 2 * 60

    def truth(self, began):
        """What the dashboards must say. Calls by window: [media_type, idc, disconnect_reason, fault_domain, answered, releaser, cause, code, number]."""
        def counted(start, end):
            of = collections.Counter(call[1:] for call in self.calls if start < call[0] <= end)
            return [[*call, *(REASONS[call[2]][number] for number in (0, 4, 1, 2, 3)), number] for call, number in sorted(of.items())]
        now, exporters = self.now, self.exporters
        fails = now - 60 * (self.state.incident.minutes if self.state.incident else 0)
        answered = {idc: [seconds for each in exporters for time, of, seconds in each.setups if of == idc and time > now - 600] for idc in self.state.idcs}
        return {
            "calls": {
                "10m": counted(now - 600, now), "1h": counted(now - HOUR, now), "hour before": counted(now - 2 * HOUR, now - HOUR),
                "last week": counted(now - WEEK - HOUR, now - WEEK), "before": counted(began, now - HOUR),
                # What is shown to begin up to two minutes later has fewer.
                "failing": counted(fails, now), "surely failing": counted(fails + 120, now),
            },
            "now": clock(now),
            "fails from": self.state.incident and clock(fails),
            "time to answer": {idc: statistics.median(seconds) for idc, seconds in answered.items() if seconds},
            "callers": {idc: sum(each.values["planet_call_abnormal_callers", idc, "5m"] for each in exporters) for idc in self.state.idcs},
            "failed deliveries": sum(each.failed for each in exporters),
            "since the last call": now - max(each.values["planet_call_last_event_time_seconds",] for each in exporters),
            "alerts": [[name, " ".join(part.split('"')[1] for part in labels.split(",") if "severity" not in part), labels.split('severity="')[1][:-1], clock(since)]
                       for name, labels, since in self.alerts()],
            "exporters": {each.instance: {
                "started": clock(each.starts[-1]), "starts": len(each.starts) - 1, "last call": clock(each.values["planet_call_last_event_time_seconds",]),
                "oldest": each.values["planet_exporter_backlog_age_seconds", "spans"],
            } for each in exporters},
        }


def clock(time):
    return datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def times(now, hours, days):
    """When there are samples: close together for the last hours and those of a week ago, far apart between, if at all."""
    chosen = set(range(now - hours * HOUR, now + 1, STEP)) | set(range(now - WEEK - (hours - 1) * HOUR, now - WEEK + 1, STEP))
    return sorted(chosen | set(range(now - days * DAY, now, COARSE)))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("directory", type=pathlib.Path)
    arguments.add_argument("--now", type=int, default=START, help="the time at which somebody looks, in seconds since the Unix epoch")
    arguments.add_argument("--hours", type=int, default=2, help="hours with many samples, up to now and up to a week ago")
    arguments.add_argument("--days", type=int, default=0, help="days with few samples")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="another value than the default of a setting")
    arguments.add_argument("--no-rules", action="store_true", help="as if no rules were loaded: no settings, no alerts")
    arguments.add_argument("--state", action="append", choices=STATES, help="only these")
    given = arguments.parse_args()
    settings = {name: default for name, (default, _) in SETTINGS.items()} | {name: float(value) for name, value in (each.split("=") for each in given.setting)}
    moments = times(given.now, given.hours, given.days)
    truth = {}
    given.directory.mkdir(parents=True, exist_ok=True)
    with open(given.directory / "played.om", "w") as file:
        for job in given.state or STATES:
            service = Service(job, STATES[job], given.now, moments[0], random.Random(f"{given.seed} {job}"))
            if given.no_rules:
                service.alerts = lambda: ()
            for before, time in zip([moments[0] - STEP, *moments], moments):
                # In a long pause nothing was played.
                service.advance(time, min(time - before, COARSE))
                service.write(file, time)
            truth[job] = service.truth(moments[0])
        for name, value in {} if given.no_rules else settings.items():
            file.writelines(f"{name} {value} {time}\n" for time in moments)
        file.write("# EOF\n")
    (given.directory / "truth.json").write_text(json.dumps({"now": given.now, "settings": settings, "jobs": truth}))


if __name__ == "__main__":
    main()
