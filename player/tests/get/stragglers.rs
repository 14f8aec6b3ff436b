//! Servers that serve one connection well, and the others badly or not at all. What the others would bring in minutes, the
//! good one brings at once.

use super::*;

/// Runs it with so much patience that who waits for a straggler does not come to an end.
fn patiently(url: &str, folder: &Folder) -> Ended {
    run(get(url, &folder.file()).args(["--timeout", "1000"]))
}

/// `good` of the connections are served, the others as `bad` says.
fn check(good: impl Fn(&Asked, usize) -> bool + Send + Sync + 'static, bad: Bad) {
    let folder = Folder::new();
    let remote = Remote::new(bytes(9 * MIB + 11, 80));
    let file = remote.clone();
    let server = Server::start(move |asked, before| {
        let answer = file.answer(asked);
        if good(asked, before) { answer.paced(MIB / 8, Duration::from_millis(1)) } else { bad(answer) }
    });
    patiently(&server.url("/a"), &folder).done();
    assert_same(&folder.file(), &remote.bytes);
}

type Bad = fn(Answer) -> Answer;

const BAD: [(&str, Bad); 7] = [
    ("busy", |_| Answer::new("503 Service Unavailable", "Retry-After: 500\r\nContent-Length: 0\r\n", b"")),
    ("too many", |_| Answer::new("429 Too Many Requests", "Retry-After: 599\r\nContent-Length: 0\r\n", b"")),
    ("reset", |answer| answer.cut_to(0, After::Reset)),
    ("closed early", |answer| answer.cut_to(3_000, After::Close)),
    ("crawling", |answer| answer.paced(200, Duration::from_millis(100))),
    ("silent", |answer| answer.cut_to(5_000, After::Silence)),
    ("mute", |answer| Answer { head: String::new(), ..answer }.cut_to(0, After::Silence)),
];

/// The first connection, and whatever is asked by it.
#[test]
fn the_first_connection_brings_what_the_others_do_not() {
    for (name, bad) in BAD {
        println!("{name}");
        check(|asked, _| asked.connection == 0, bad);
    }
}

/// The first of them is the straggler.
#[test]
fn the_other_connections_bring_what_the_first_does_not() {
    // It is refused nothing here: without a first answer there is no other question.
    for (name, bad) in &BAD[3..6] {
        println!("{name}");
        check(|asked, _| asked.connection != 0, *bad);
    }
}

/// One in four, by chance as it looks.
#[test]
fn every_fourth_answer_is_enough() {
    // Where all four are held up for minutes at some moment, nothing is to be done.
    for (name, bad) in &BAD[..4] {
        println!("{name}");
        check(|_, before| before.is_multiple_of(4), *bad);
    }
}

#[test]
fn a_server_that_asks_for_no_wait_is_not_hammered() {
    for later in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let folder = Folder::new();
        let fields = format!("Retry-After: {later}\r\nContent-Length: 0\r\n");
        let remote = Remote::new(bytes(MIB, 81));
        let (file, began) = (remote.clone(), Instant::now());
        let server = Server::start(move |asked, _| {
            // All eight tries once fell into 30 ms.
            let is_over = began.elapsed() > Duration::from_millis(500);
            if is_over { file.answer(asked) } else { Answer::new("503 Service Unavailable", &fields, b"") }
        });
        run(&mut get(&server.url("/a"), &folder.file())).done();
        assert_same(&folder.file(), &remote.bytes);
    }
}
