//! The promise: while the disk is full, a service behind gets its call events all the same and answers them itself; without
//! one nothing is acknowledged, and readiness says so. When there is room again the exporter goes on by itself, with exact
//! totals. On a real file system that is full: a small tmpfs in a namespace.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use support::call::{CallEventQuery, sid};
use support::eventually;
use support::exporter::{Exporter, command};
use support::scrape::Page;
use support::service::{Answer, Service};
use support::small_disk::SmallDisk;

/// Takes all the room that there is.
fn fill(disk: &SmallDisk) {
    let mut filler = File::create(disk.file("filler")).expect("a filler");
    let block = [0; 4096];
    while filler.write_all(&block).is_ok() {}
}

/// Leaves no room for another event, and answers how many had to be sent for that; see [`send`].
fn fill_up_for(disk: &SmallDisk, exporter: &Exporter, from: usize) -> usize {
    fill(disk);
    let mut numbers = from..;
    eventually("a full disk", || {
        let number = numbers.next().expect("endless");
        send(exporter, number);
        (result(&exporter.metrics(), "undurable") > 0.0).then_some(number + 1)
    })
}

/// The command of an exporter with its state on the disk and a service behind.
fn exporter_before(disk: &SmallDisk, service: &Service) -> Command {
    let mut command = disk.exporter();
    command.args(["--forward-to", &service.url()]);
    command
}

/// A call event of a caller of its own.
fn query(number: usize) -> String {
    CallEventQuery::new(number).with("from_user_id", &number.to_string()).encode()
}

/// Sends the call event of this number, and answers the status.
fn send(exporter: &Exporter, number: usize) -> u16 {
    exporter.send(&query(number)).status
}

fn result(page: &Page, result: &str) -> f64 {
    page.value("planet_exporter_events_total", &[("result", result)])
}

/// How often the call event of each number arrived, which are all that did.
fn arrivals(service: &Service, numbers: usize) -> Vec<usize> {
    let arrived: Vec<String> = service.requests().iter().map(support::service::Request::sid).collect();
    let times: Vec<usize> =
        (0..numbers).map(|number| arrived.iter().filter(|known| **known == sid(number)).count()).collect();
    assert_eq!(times.iter().sum::<usize>(), arrived.len());
    times
}

fn eventually_delivered(exporter: &Exporter) {
    eventually("no backlog", || {
        let page = exporter.metrics();
        let backlog = page.value("planet_exporter_backlog", &[("sink", "service")]);
        (backlog == 0.0 && page.sum("planet_exporter_undurable_events") == 0.0).then_some(())
    });
}

#[test]
fn with_a_full_disk_the_service_answers_and_each_call_counts_and_arrives_once() {
    let disk = SmallDisk::of("1m");
    let service = Service::start();
    let mut exporter = Exporter::launch(&mut exporter_before(&disk, &service));
    assert_eq!((0..20).map(|number| send(&exporter, number)).max(), Some(200));
    let page = exporter.metrics();
    assert_eq!((result(&page, "undurable"), result(&page, "uncounted")), (0.0, 0.0));
    let first = fill_up_for(&disk, &exporter, 20);
    let stored = exporter.metrics().sum("planet_calls_total") as usize;
    service.answer(|request| match request.sid() < sid(500) {
        true => Answer::Send(200, "x-of-service: 1\r\n", b"taken".to_vec()),
        false => Answer::Send(404, "", b"no such user".to_vec()),
    });
    // Those below 500 are taken, the others refused for good.
    let numbers: Vec<usize> = (first..first + 20).chain(500..510).collect();
    for number in &numbers {
        let answer = exporter.send(&query(*number));
        let expected = if *number < 500 { (200, "taken") } else { (404, "no such user") };
        assert_eq!((answer.status, answer.text().as_str()), expected);
    }
    // Repeats are answered so too, and not passed on again.
    for number in &numbers {
        assert_eq!(send(&exporter, *number), if *number < 500 { 200 } else { 404 });
    }
    let page = exporter.metrics();
    let undurable = (first - stored) + numbers.len();
    assert_eq!(result(&page, "undurable"), undurable as f64);
    assert_eq!(page.sum("planet_exporter_undurable_events"), undurable as f64);
    assert_eq!((result(&page, "duplicate"), result(&page, "unavailable")), (numbers.len() as f64, 0.0));
    assert_eq!(page.sum("planet_calls_total"), stored as f64);
    assert_eq!(page.sum("planet_exporter_storage_failing"), 1.0);
    assert_eq!(exporter.admin("/readyz").text(), "ok\n");
    let verbose = exporter.admin("/readyz?verbose").text();
    assert_eq!(verbose, "starting: ok\nstorage: not ready (does not count)\nok\n");
    exporter.process.stderr.wait_for("passed on at once and held in memory");

    fs::remove_file(disk.file("filler")).expect("the filler goes");
    eventually_delivered(&exporter);
    let page = exporter.metrics();
    let all = first + numbers.len();
    assert_eq!(page.sum("planet_calls_total"), all as f64);
    assert_eq!(page.sum("planet_exporter_storage_failing"), 0.0);
    // A sink that does nothing but take note of the answers.
    let refused =
        page.value("planet_exporter_dropped_events_total", &[("sink", "service"), ("cause", "refused")]);
    assert_eq!(refused, 10.0);
    for number in &numbers {
        assert_eq!(send(&exporter, *number), 200);
    }
    // Nor does a restart deliver anything again.
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
    let exporter = Exporter::launch(&mut exporter_before(&disk, &service));
    eventually_delivered(&exporter);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), all as f64);
    let times = arrivals(&service, 510);
    for number in (0..first).chain(numbers) {
        assert_eq!(times[number], 1, "{number}");
    }
}

#[test]
fn with_a_full_disk_and_a_service_that_is_down_nothing_is_acknowledged_or_lost_or_counted_twice() {
    let disk = SmallDisk::of("1m");
    let service = Service::start();
    let address = service.address;
    let exporter = Exporter::launch(&mut exporter_before(&disk, &service));
    let first = fill_up_for(&disk, &exporter, 0);
    drop(service);
    for _ in 0..2 {
        for number in first..first + 5 {
            let answer = exporter.send(&query(number));
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        }
    }
    assert_eq!(exporter.admin("/readyz").status, 200);
    let service = Service::start_at(address);
    // Those that come again are answered by the service; the others are delivered from the journal.
    for number in first..first + 2 {
        assert_eq!(send(&exporter, number), 200);
    }
    fs::remove_file(disk.file("filler")).expect("the filler goes");
    eventually_delivered(&exporter);
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), (first + 5) as f64);
    assert_eq!((result(&page, "unavailable"), result(&page, "duplicate")), (10.0, 7.0));
    assert_eq!(arrivals(&service, first + 5)[first..], [1; 5]);
}

#[test]
fn what_is_held_at_an_orderly_end_is_stored_if_there_is_room_and_else_its_loss_is_said() {
    for has_room in [true, false] {
        let disk = SmallDisk::of("1m");
        let service = Service::start();
        let mut exporter = Exporter::launch(&mut exporter_before(&disk, &service));
        if !has_room {
            // The last checkpoint would take its room and leave some of it to the journal.
            fs::remove_file(disk.file("state/ledger.checkpoint.reserve")).expect("the room set aside goes");
        }
        let first = fill_up_for(&disk, &exporter, 0);
        let stored = exporter.metrics().sum("planet_calls_total");
        if has_room {
            fs::remove_file(disk.file("filler")).expect("the filler goes");
        }
        exporter.process.signal("TERM");
        assert!(exporter.process.wait().success());
        let said = "could not be stored until the end";
        if has_room {
            assert_eq!(exporter.process.stderr.find(said), None);
        } else {
            exporter.process.stderr.wait_for(said);
            fs::remove_file(disk.file("filler")).expect("the filler goes");
        }
        let exporter = Exporter::launch(&mut exporter_before(&disk, &service));
        eventually_delivered(&exporter);
        let calls = if has_room { first as f64 } else { stored };
        assert_eq!(exporter.metrics().sum("planet_calls_total"), calls);
        // What was delivered a moment before the disk was full may come again: its position has no room either.
        let times = arrivals(&service, first);
        assert!(times.iter().all(|times| *times >= 1), "{times:?}");
        assert_eq!(times[stored as usize..], vec![1; first - stored as usize]);
    }
}

#[test]
fn inline_the_service_answers_as_ever_and_each_call_counts_once() {
    let disk = SmallDisk::of("1m");
    let service = Service::start();
    service.answer(|_| Answer::status(204));
    let exporter = Exporter::launch(exporter_before(&disk, &service).args(["--forward-mode", "inline"]));
    let first = fill_up_for(&disk, &exporter, 0);
    for number in (first..first + 10).chain(first..first + 10) {
        assert_eq!(send(&exporter, number), 204);
    }
    assert_eq!(arrivals(&service, first + 10), vec![1; first + 10]);
    fs::remove_file(disk.file("filler")).expect("the filler goes");
    eventually("all in the totals", || {
        (exporter.metrics().sum("planet_calls_total") == (first + 10) as f64).then_some(())
    });
    assert_eq!(arrivals(&service, first + 10), vec![1; first + 10]);
}

#[test]
fn with_a_full_disk_and_full_memory_call_events_are_still_passed_on() {
    let disk = SmallDisk::of("32m");
    let service = Service::start();
    let exporter = Exporter::launch(&mut exporter_before(&disk, &service));
    let first = fill_up_for(&disk, &exporter, 0);
    // Long ones, so that few fill the memory.
    let long = |number: usize| CallEventQuery::new(number).with("app_svr_data", &"x".repeat(30_000)).encode();
    let mut sent = first;
    eventually("full memory", || {
        for _ in 0..50 {
            assert_eq!(exporter.send(&long(sent)).status, 200);
            sent += 1;
        }
        (result(&exporter.metrics(), "uncounted") > 0.0).then_some(())
    });
    let uncounted = result(&exporter.metrics(), "uncounted");
    assert!(uncounted < (sent - first) as f64);
    fs::remove_file(disk.file("filler")).expect("the filler goes");
    eventually_delivered(&exporter);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), sent as f64 - uncounted);
    assert_eq!(arrivals(&service, sent), vec![1; sent]);
    // With room again it is as before; what was forgotten is a new event when it comes again.
    let forgotten = exporter.send(&long(sent - 1)).status;
    eventually_delivered(&exporter);
    assert_eq!((forgotten, arrivals(&service, sent)[sent - 1]), (200, 2));
    assert_eq!(exporter.metrics().sum("planet_calls_total"), sent as f64 - uncounted + 1.0);
}

#[test]
fn a_full_disk_stops_intake_until_there_is_room_and_no_call_is_lost() {
    let disk = SmallDisk::of("1m");
    let exporter = Exporter::launch(&mut disk.exporter());
    let filler = disk.file("filler");
    let mut acknowledged = 0;
    let mut numbers = 0..;
    let mut send = |exporter: &Exporter| {
        let answer = exporter.send(&CallEventQuery::new(numbers.next().expect("endless")).encode());
        acknowledged += u64::from(answer.status == 200);
        answer
    };
    for _ in 0..20 {
        assert_eq!(send(&exporter).status, 200);
    }
    fs::write(&filler, vec![0; 900 * 1024]).expect("room for a filler");
    let refused = eventually("a full disk", || Some(send(&exporter)).filter(|answer| answer.status != 200));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let answer = exporter.admin("/readyz");
    assert_eq!((answer.status, answer.text().as_str()), (503, "not ready: storage\n"));
    assert_eq!(exporter.admin("/readyz?verbose&exclude=storage").status, 200);
    assert_eq!(exporter.admin("/livez").status, 200);
    assert_eq!(exporter.metrics().sum("planet_exporter_storage_failing"), 1.0);
    exporter.process.stderr.wait_for("the journal cannot be written");
    assert_eq!(send(&exporter).status, 503);

    fs::remove_file(&filler).expect("the filler goes");
    // Nobody sends, since it is not ready; it finds out by itself.
    eventually("readiness", || (exporter.admin("/readyz").status == 200).then_some(()));
    assert_eq!(exporter.metrics().sum("planet_exporter_storage_failing"), 0.0);
    for _ in 0..20 {
        assert_eq!(send(&exporter).status, 200);
    }
    assert_eq!(exporter.metrics().sum("planet_calls_total"), acknowledged as f64);
    exporter.kill();
    let page = Exporter::launch(&mut disk.exporter()).metrics();
    assert_eq!(page.sum("planet_calls_total"), acknowledged as f64);
    assert_eq!(page.sum("planet_exporter_journal_damaged_records"), 0.0);
}

#[test]
fn with_a_full_disk_it_starts_with_the_totals_and_takes_nothing_until_there_is_room() {
    let disk = SmallDisk::of("1m");
    let exporter = Exporter::launch(&mut disk.exporter());
    for number in 0..20 {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
    exporter.kill();
    fill(&disk);
    let exporter = Exporter::launch_unready(&mut disk.exporter());
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 20.0);
    eventually("it is not ready", || (exporter.admin("/readyz").status == 503).then_some(()));
    assert_eq!(exporter.send(&CallEventQuery::new(20).encode()).status, 503);
    fs::remove_file(disk.file("filler")).expect("the filler goes");
    eventually("readiness", || (exporter.admin("/readyz").status == 200).then_some(()));
    for number in 10..30 {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 30.0);
    exporter.kill();
    assert_eq!(Exporter::launch(&mut disk.exporter()).metrics().sum("planet_calls_total"), 30.0);
}

/// While it drains, the service has an event before the disk is to take it.
#[test]
fn what_the_service_has_first_is_stored_as_it_came_once_the_disk_takes_it() {
    for mode in ["stored", "inline"] {
        let disk = SmallDisk::of("1m");
        let service = Service::start();
        let mut exporter = exporter_before(&disk, &service);
        let exporter = Exporter::launch(exporter.args(["--state-ephemeral", "true", "--forward-mode", mode]));
        let admin = exporter.admin.to_string();
        let drains = command().args(["drain", "--admin-listen", &admin]).status().expect("it runs");
        assert!(drains.success());
        let next = fill_up_for(&disk, &exporter, 0);
        for number in next..next + 5 {
            assert_eq!(send(&exporter, number), 200, "{mode}");
        }
        fs::remove_file(disk.file("filler")).expect("room");
        let page = eventually("all of them on disk", || {
            let page = exporter.metrics();
            (page.sum("planet_exporter_undurable_events") == 0.0).then_some(page)
        });
        assert_eq!(page.sum("planet_calls_total"), (next + 5) as f64, "{mode}");
        assert_eq!(page.sum("planet_exporter_quarantined_events_total"), 0.0, "{mode}");
        if mode == "stored" {
            let backlog = || exporter.metrics().value("planet_exporter_backlog", &[("sink", "service")]);
            eventually("the sink has passed them", || (backlog() == 0.0).then_some(()));
        }
        let arrived: Vec<_> = service.requests().iter().map(|request| request.sid()).collect();
        assert_eq!(arrived, (0..next + 5).map(sid).collect::<Vec<_>>(), "{mode}: once each");
    }
}
