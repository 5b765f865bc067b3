#!/usr/bin/env python3
"""Plays months of calls with incidents against the alerts: `python3 tests/incidents/play.py --seed 1`.

For each size of service it writes two rule tests for promtool, one with incidents after some days of history and one of a normal month, lets
promtool evaluate the rules, and prints what fired, when, and after how many calls. With incidents, rules are evaluated every minute (a small
service, for which each lasts a day: every five); in the normal month every five. Needs promtool and nothing else. What is random comes from the seed.
"""

import argparse
import bisect
import collections
import math
import pathlib
import random
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DAY = 1440
SIZES = {"small": 200 / DAY, "medium": 5 * 60, "large": 200 * 60}  # calls a minute, on average
IDCS = {"KR": 0.6, "JP": 0.3, "TW": 0.1}
MEDIA = {"audio": 0.7, "video": 0.3}
ABNORMAL = {  # usual abnormal calls: (reason, fault domain, answered): share of all
    ("NETWORK_UNSTABLE", "network", "true"): 0.004,
    ("INTERNAL_ERROR", "client", "false"): 0.003,
    ("SERVICE_BUSY", "platform", "false"): 0.001,
    ("USER_ERROR", "application", "false"): 0.001,
}
RARE = ("SERVER_INTERNAL_ERROR", "platform", "false")
PUSH = ("PUSH_ERROR", "application", "false")
TOKEN = ("SERVICE_ACCESS_TOKEN_ERROR", "application", "false")
NEW_CODE = ("UNKNOWN", "unknown", "false")
REASONS = [*ABNORMAL, RARE, PUSH, TOKEN, NEW_CODE]
WELL = [("NORMAL", "none", "true"), ("NOANSWER", "user", "false")]
DURATION_BUCKETS = (5, 10, 30, 60, 120, 300, 600, 1800)  # of the exporter's, these do
SETUP_BUCKETS = (2, 3, 5, 10, 15, 30, 60)

# What happens, whether somebody must get up, the limits in minutes and in calls of what is affected, whichever is later, and what must fire (a
# regular expression; what the rules called by another name before is in it too).
Incident = collections.namedtuple("Incident", "severity minutes calls alerts share reason idc media", defaults=(0, None, None, None))
INCIDENTS = {
    "IDC out": Incident("page", 2, 10, "IdcAbnormalFast", 1, RARE, "JP"),
    "platform out": Incident("page", 2, 10, "CallsAbnormalFast", 1, RARE),
    "push server failing": Incident("page", 2, 10, "PushError", 1, PUSH),
    "credentials expired": Incident("page", 2, 10, "Credentials|AbnormalFast", 1, TOKEN),
    "video only out": Incident("page", 2, 10, "MediaAbnormalFast|CallsAbnormalFast", 1, RARE, None, "video"),
    "10 % failing": Incident("page", 10, 200, "CallsAbnormalFast", 0.1, ("INTERNAL_ERROR", "client", "false")),
    "decay to 1 in 20": Incident("ticket", 15, 200, "AbnormalSlow|AbnormalFast|ReasonGrows", 0.05, ("NETWORK_UNSTABLE", "network", "true")),
    "cut after 10 s": Incident("ticket", 15, 200, "CallsShort"),
    "set-up 3 s to 9 s": Incident("ticket", 15, 200, "TimeToAnswer"),
    "a tenth of the traffic": Incident("ticket", 15, 200, "FewCalls|NoCalls"),
    "traffic stopped": Incident("page", 5, 0, "NoCalls"),
    "exporter gone": Incident("page", 5, 0, "ExporterDown|NoCalls"),
    "target vanished": Incident("page", 5, 0, "ExporterDown|NoCalls"),
    "crash loop": Incident("page", 5, 0, "ExporterRestarts|ExporterDown"),
    "rare code, 3 in 1 h": Incident("ticket", 41, 0, "ReasonGrows|ReasonFirstSeen"),
}


def poisson(chance, mean):
    if mean > 30:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count, product = count + 1, product * chance.random()
    return count


def shape(minute, random_walk):
    """Day and night, weekdays and weekends, and a mood that wanders; 1 on average."""
    hour = minute / 60 % 24
    day = 1.13 - math.cos((hour - 3) / 24 * 2 * math.pi)
    return day / 1.13 * (1.1 if minute // DAY % 7 < 5 else 0.75) * math.exp(random_walk)


class Service:
    """The exporter of one service, as Prometheus sees it: a value or a gap for each series and minute."""

    def __init__(self, size, chance):
        self.rate, self.chance = SIZES[size], chance
        self.series = collections.defaultdict(list)
        self.counts = collections.Counter()
        self.rings = {(media, idc): collections.deque(maxlen=32) for media in MEDIA for idc in IDCS}
        self.start = self.mood = 0
        self.last_event = None
        for media, idc in self.rings:
            for reason, domain, answered in WELL + REASONS:
                self.count("results", (media, idc, domain, answered), 0)
                self.count("calls", (media, idc, reason, domain, answered), 0)
            for name, buckets in (("duration", DURATION_BUCKETS), ("setup", SETUP_BUCKETS)):
                for bound in (*buckets, "+Inf"):
                    self.count(name, (idc, bound), 0)
        for (reason, domain, _), idc in ((reason, idc) for reason in REASONS for idc in IDCS):
            self.count("abnormal", (idc, reason, domain), 0)

    def count(self, name, labels, number):
        self.counts[name, labels] += number

    def times(self, name, buckets, idc, number, median, spread):
        """A histogram of calls; of many calls, ten stand for all."""
        drawn = min(number, 10)
        for part in range(drawn):
            weight = number // drawn + (part < number % drawn)
            seconds = median * math.exp(self.chance.gauss(0, spread))
            for bound in buckets[bisect.bisect_left(buckets, seconds):]:
                self.count(name, (idc, bound), weight)
        self.count(name, (idc, "+Inf"), number)

    def calls(self, minute, name, incident, normal):
        """The calls of a minute; says how many of them were of what is affected, and how many suffered."""
        self.mood = 0.995 * self.mood + self.chance.gauss(0, 0.008)
        rate = self.rate * shape(minute, self.mood)
        rate *= {"traffic stopped": 0, "a tenth of the traffic": 0.1}.get(name, 1)
        affected = suffered = 0
        for (media, idc), ring in self.rings.items():
            mean = rate * MEDIA[media] * IDCS[idc]
            if normal.get("drained") == idc:
                mean = 0
            shares = dict(ABNORMAL)
            if normal.get("new code"):
                shares[NEW_CODE] = 0.002
            is_hit = incident and incident.share and incident.idc in (None, idc) and incident.media in (None, media)
            if is_hit:
                shares = {reason: share * (1 - incident.share) for reason, share in shares.items()}
                shares[incident.reason] = shares.get(incident.reason, 0) + incident.share
            left = 1 - sum(shares.values())
            shares.update({WELL[0]: left * 0.45, WELL[1]: left * 0.55})
            numbers = {reason: poisson(self.chance, mean * share) for reason, share in shares.items()}
            if (media, idc) == ("audio", "KR"):
                if normal.get("bot"):
                    numbers[TOKEN] = numbers.get(TOKEN, 0) + poisson(self.chance, min(1, max(0.05, self.rate / 200)))
                numbers[RARE] = numbers.get(RARE, 0) + normal.get("rare", 0)
            number = sum(numbers.values())
            if not number:
                continue
            self.last_event = minute * 60 + 50
            for (reason, domain, answered), count in numbers.items():
                self.count("calls", (media, idc, reason, domain, answered), count)
                self.count("results", (media, idc, domain, answered), count)
                if domain not in ("none", "user"):
                    self.count("abnormal", (idc, reason, domain), count)
                if answered == "true" and count:
                    short, slow = name == "cut after 10 s", name == "set-up 3 s to 9 s"
                    self.times("duration", DURATION_BUCKETS, idc, count, 9 if short else 90, 0.1 if short else 1.2)
                    self.times("setup", SETUP_BUCKETS, idc, count, 9 if slow else 3, 0.5)
            share = sum(count for (_, domain, _), count in numbers.items() if domain not in ("none", "user")) / number
            ring.extend(self.chance.random() < share for _ in range(min(32, number)))
            everybody = bool(incident and not incident.share)
            affected += number if is_hit or everybody else 0
            suffered += numbers.get(incident.reason, 0) if is_hit else number if everybody else 0
        return affected, suffered

    def sample(self, minute, up):
        """A scrape: up is 1, 0, or None where nothing is known of the target."""
        missing = "_"
        self.series["up", ()].append("_" if up is None else str(up))
        for (name, labels), value in self.counts.items():
            self.series[name, labels].append(str(value) if up else missing)
        for labels, ring in self.rings.items():
            self.series["recent_abnormal", labels].append(str(sum(ring)) if up else missing)
            self.series["recent_calls", labels].append(str(len(ring)) if up else missing)
        self.series["start", ()].append(str(self.start) if up else missing)
        self.series["build", ()].append("1" if up else missing)
        self.series["last", ()].append(str(self.last_event) if up and self.last_event else missing)


NAMES = {
    "results": ("planet_call_results_total", ("media_type", "idc", "fault_domain", "answered")),
    "calls": ("planet_calls_total", ("media_type", "idc", "disconnect_reason", "fault_domain", "answered")),
    "abnormal": ("planet_call_abnormal_releases_total", ("idc", "disconnect_reason", "fault_domain")),
    "duration": ("planet_call_duration_seconds_bucket", ("idc", "le")),
    "setup": ("planet_call_setup_duration_seconds_bucket", ("idc", "le")),
    "recent_abnormal": ("planet_call_recent_abnormal", ("media_type", "idc")),
    "recent_calls": ("planet_call_recent_calls", ("media_type", "idc")),
    "last": ("planet_call_last_event_time_seconds", ()),
    "start": ("process_start_time_seconds", ()),
    "build": ("planet_exporter_build_info", ()),
    "up": ("up", ()),
}


def compress(values):
    """promtool's notation: runs, and a stale marker at the beginning of each gap."""
    result, run, before = [], 0, None
    for value in [*values, None]:
        if value == before:
            run += 1
            continue
        if before == "_":
            result.append("stale" if run == 1 else f"stale _x{run - 1}")
        elif before is not None:
            result.append(before if run == 1 else f"{before}x{run - 1}")
        before, run = value, 1
    return " ".join(result)


def play(size, seed, days, with_incidents):
    """The series of a service, and its truth: (name, first minute, minutes, calls of what is affected in each minute)."""
    chance = random.Random(f"{size} {seed} {with_incidents}")
    service, truth = Service(size, chance), []
    lasting, history = (26 * 60, 8) if size == "small" else (120, 4)
    beginnings = {}
    if with_incidents:
        names = list(INCIDENTS)
        chance.shuffle(names)
        every = 2 * DAY if size == "small" else DAY // 2
        # At nine in the morning, and for the larger ones at nine in the evening too.
        beginnings = {history * DAY + every * number + 540 + chance.randrange(60): name for number, name in enumerate(names)}
        days = history + every * len(names) // DAY + 1
    deploys = {day * DAY + chance.randrange(600, 1000) for day in range(1, days, 3)}
    gaps = {minute + number for minute in (chance.randrange(DAY * days) for _ in range(days // 7)) for number in range(10)}
    drained = {} if with_incidents else {minute: True for minute in range(19 * DAY, 20 * DAY)}
    bots = set() if with_incidents else {day * DAY + 720 + minute for day in (9, 13, 24) for minute in range(180)}
    name, others = None, []
    for minute in range(days * DAY):
        if minute in beginnings:
            name = beginnings[minute]
            truth.append([name, None, minute, lasting, []])
        if truth and minute >= truth[-1][2] + lasting:
            name = None
        incident, since = INCIDENTS.get(name), minute - truth[-1][2] if truth else 0
        normal = {"drained": "TW" if minute in drained else None, "bot": minute in bots, "new code": minute > 16 * DAY and not with_incidents}
        if name == "rare code, 3 in 1 h" and since in (0, 20, 40):
            normal["rare"] = 1
        up = 1
        if minute in deploys or name == "crash loop" and since % 3 == 0:
            service.start, up = minute * 60, 0
        if name == "crash loop" and since % 3 == 1:
            up = 0
        up = 0 if name == "exporter gone" else None if name == "target vanished" or minute in gaps else up
        affected = suffered = 0
        if up or minute in deploys or minute in gaps:
            affected, suffered = service.calls(minute, name, incident, normal)
        if name:
            truth[-1][4].append(affected)
            if truth[-1][1] is None and (suffered or not incident.share and not incident.calls):
                truth[-1][1] = minute
        service.sample(minute, up)
        others.append("_" if minute in gaps else "1")
    for each in truth:
        each[1] = each[2] if each[1] is None else each[1]
    series = {}
    for (short, labels), values in service.series.items():
        metric, names = NAMES[short]
        more = "".join(f',{key}="{value}"' for key, value in zip(names, labels))
        if short == "setup":
            more += ',answered="true"'
        series[f'{metric}{{job="{size}",instance="i"{more}}}'] = compress(values)
    series['up{job="another",instance="n"}'] = compress(others)
    return days, series, truth


def evaluate(rules, days, series, questions, every):
    """The answers of promtool to questions, which are pairs of an expression and the minute at which it is asked."""
    with tempfile.TemporaryDirectory() as directory, tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write("rule_files:\n")
        for rule in rules:
            # What nothing of what is played can make fire only takes time.
            head, *each = re.split(r"^(?=      - (?:record|alert): )", rule.read_text(), flags=re.M)
            kept = [text for text in each if re.search(r"planet_call|\bup\b|process_start|- record", text)]
            (pathlib.Path(directory) / rule.name).write_text(head + "".join(kept))
            file.write(f"  - {directory}/{rule.name}\n")
        file.write(f"evaluation_interval: {every}s\ntests:\n  - interval: 1m\n    input_series:\n")
        for name, values in series.items():
            file.write(f"      - series: '{name}'\n        values: {values}\n")
        file.write("    promql_expr_test:\n")
        for expression, minute in questions:
            file.write(f"      - expr: '{expression}'\n        eval_time: {minute}m\n        exp_samples: []\n")
        file.flush()
        groups = [name for rule in rules for name in re.findall(r"^  - name: (.*)", rule.read_text(), re.M)]
        file.write(f"group_eval_order: [{', '.join(groups)}]\n")
        file.flush()
        output = subprocess.run(["promtool", "test", "rules", file.name], capture_output=True, text=True)
    answers = collections.defaultdict(list)
    text = output.stdout + output.stderr
    for expression, minute, got in re.findall(r'expr: (".*"), time: (\S+),\s+exp: .*\n\s+got: ((?:.*\n)*?)(?=\s*\n|\Z|\s+expr:)', text):
        hours = sum(int(number) * {"d": 1440, "h": 60, "m": 1, "s": 0}[unit] for number, unit in re.findall(r"(\d+)([dhms])", minute))
        for labels, value in re.findall(r"(\{[^{}]*\}) ([^\s,]+)", got):
            answers[expression, hours].append((dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
    if output.returncode < 0 or " err: " in text or "FAILED" not in text and "SUCCESS" not in text:
        raise SystemExit(text)
    return answers


def shown(labels):
    where = [labels[key] for key in ("idc", "media_type", "disconnect_reason") if key in labels]
    return labels["alertname"].removeprefix("Planet") + (f"({', '.join(where)})" if where else "")


FIRING = 'ALERTS{alertstate="firing"}'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", choices=SIZES, action="append", help="default: all")
    parser.add_argument("--days", type=int, default=30, help="length of the normal month; 0: none")
    parser.add_argument("--no-incidents", action="store_true")
    parser.add_argument("--rules", type=pathlib.Path, default=ROOT / "dashboards/rules")
    arguments = parser.parse_args()
    rules = [arguments.rules.resolve() / f"{name}.rules.yml" for name in ("recording", "alerts")]
    print(f"seed {arguments.seed}\n\n| size | incident | must | fired after | | what fired |\n|---|---|---|---|---|---|")
    false = []
    for size in arguments.size or SIZES:
        for with_incidents in (True, False):
            if (arguments.no_incidents if with_incidents else not arguments.days):
                continue
            every = 60 if with_incidents and size != "small" else 300
            days, series, truth = play(size, arguments.seed, arguments.days, with_incidents)
            questions, calm = [], 0
            for name, first, begin, lasting, _ in truth:
                questions.append((f"min_over_time(timestamp({FIRING})[{lasting}m:1m])", begin + lasting))
            ends = [begin + lasting + 240 for _, _, begin, lasting, _ in truth]
            begins = [begin for _, _, begin, _, _ in truth]
            for end, begin in zip([0, *ends], [*begins, days * DAY - 1]):
                if begin - end > 60:
                    started = f"count_over_time(({FIRING} unless {FIRING} offset {every}s)[{begin - end - 1}m:{every}s])"
                    questions.append((started, begin))
                    calm += begin - end
            answers = evaluate(rules, days, series, questions, every)
            by_minute = collections.defaultdict(list)
            for (expression, minute), found in answers.items():
                by_minute[minute, "count_over" in expression].extend(found)
            for name, first, begin, lasting, affected in truth:
                incident = INCIDENTS[name]
                fired = sorted((time / 60, labels) for labels, time in by_minute[begin + lasting, False] if time / 60 >= begin)
                right = [time for time, labels in fired if re.search(incident.alerts, labels["alertname"]) and time >= first
                         and (labels["severity"] == "page" or incident.severity == "ticket")]
                pages = [shown(labels) for _, labels in fired if labels["severity"] == "page"]
                tickets = [shown(labels) for _, labels in fired if labels["severity"] == "ticket"]
                after = verdict = "never"
                if right:
                    # A sample has the calls of the minute before it.
                    minutes, calls = right[0] - first + 1, sum(affected[first - begin:int(right[0]) - begin + 1])
                    after = f"{minutes:.0f} min" + (f", {calls} calls" if incident.calls else "")
                    verdict = "in time" if minutes <= incident.minutes or incident.calls and calls <= incident.calls else "late"
                what = "; ".join(filter(None, (f"pages: {', '.join(pages)}" if pages else "", f"tickets: {', '.join(tickets)}" if tickets else "")))
                limit = f"{incident.severity}, {incident.minutes} min" + (f" or {incident.calls} calls" if incident.calls else "")
                print(f"| {size} | {name} | {limit} | {after} | {verdict} | {what} |", flush=True)
            kinds = collections.Counter()
            for (minute, is_count), found in by_minute.items():
                for labels, number in found if is_count else []:
                    kinds[labels["severity"], shown(labels)] += round(number)
            for severity in ("page", "ticket"):
                of_kind = {name: number for (kind, name), number in kinds.items() if kind == severity}
                false.append((size, "between the incidents" if with_incidents else "normal month", f"{calm / DAY:.0f}", severity,
                              sum(of_kind.values()), ", ".join(f"{name} x {number}" for name, number in sorted(of_kind.items()))))
    print("\n| size | false alarms | days | severity | number | which |\n|---|---|---|---|---|---|")
    for line in false:
        print("| " + " | ".join(map(str, line)) + " |")


if __name__ == "__main__":
    main()
