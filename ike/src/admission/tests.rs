use super::*;
use crate::testing::{Clock, SeededRandom};

fn applicant<'a>(from: &str, cookie: Option<&'a [u8]>) -> Applicant<'a> {
    Applicant {
        proven: false,
        nonce: &[1; 32],
        from: from.parse().unwrap(),
        spi_i: IkeSpi(7),
        cookie,
        solution: None,
        prf: Some(Prf::HmacSha2_256),
        expected: false,
    }
}

fn always() -> EndpointConfig {
    EndpointConfig {
        cookie_threshold: 0,
        puzzles: Some((4, 8)),
        ..EndpointConfig::default()
    }
}

fn cookie_for(admission: &mut Admission, now: Instant, from: &str) -> Vec<u8> {
    match admission.judge(&always(), now, &mut SeededRandom::new(1), applicant(from, None)) {
        Verdict::CookieWanted(cookie) => cookie,
        other @ (Verdict::Admitted | Verdict::Full | Verdict::PuzzleWanted(..)) => panic!("{other:?}"),
    }
}

/// Room for 64, `taken` of them by addresses all over the world.
fn loaded(now: Instant, taken: u32) -> (Admission, EndpointConfig) {
    let mut admission = Admission::default();
    for number in 0..taken {
        let address = std::net::Ipv4Addr::from(0x0b00_0000 + (number << 8));
        admission.note_wasted(now, address.into());
    }
    let config = EndpointConfig {
        max_half_open: 64,
        ..always()
    };
    (admission, config)
}

#[test]
fn admits_who_returns_its_cookie_and_nobody_else() {
    let (mut admission, now) = (Admission::default(), Clock::new().now());
    let cookie = cookie_for(&mut admission, now, "192.0.2.1:500");
    let mut judge = |from| {
        admission.judge(
            &always(),
            now,
            &mut SeededRandom::new(2),
            applicant(from, Some(&cookie)),
        )
    };
    assert_eq!(judge("192.0.2.1:500"), Verdict::Admitted);
    assert!(matches!(judge("192.0.2.2:500"), Verdict::CookieWanted(_)));
}

#[test]
fn accepts_cookies_of_the_secret_before_but_not_older_ones() {
    let (mut admission, clock) = (Admission::default(), Clock::new());
    let from = "192.0.2.1:500";
    let cookie = cookie_for(&mut admission, clock.now(), from);
    let mut random = SeededRandom::new(2);
    let mut judge = |seconds| {
        let now = clock.now() + Duration::from_secs(seconds);
        admission.judge(&always(), now, &mut random, applicant(from, Some(&cookie)))
    };
    assert_eq!(judge(59), Verdict::Admitted);
    assert_eq!(judge(61), Verdict::Admitted);
    assert!(matches!(judge(125), Verdict::CookieWanted(_)));
}

#[test]
fn refuses_everybody_when_there_is_no_room() {
    let config = EndpointConfig {
        max_half_open: 0,
        ..EndpointConfig::default()
    };
    let now = Clock::new().now();
    let applicant = applicant("192.0.2.1:500", None);
    let verdict = Admission::default().judge(&config, now, &mut SeededRandom::new(1), applicant);
    assert_eq!(verdict, Verdict::Full);
}

#[test]
fn a_crowd_of_neighbours_must_show_cookies_while_others_need_not() {
    let (mut admission, now) = (Admission::default(), Clock::new().now());
    let config = EndpointConfig::default();
    for host in 0..64u128 {
        let address = std::net::Ipv6Addr::from(0x2001_0db8_0001_0002_u128 << 64 | host);
        admission.note_wasted(now, address.into());
    }
    // They are more than the threshold for everybody; a quarter of a /64's share comes first.
    let config = EndpointConfig {
        cookie_threshold: 100,
        ..config
    };
    let mut free = |from: &str| admission.serves_without_cookie(&config, now, from.parse().unwrap());
    assert!(!free("2001:db8:1:2::ffff"));
    assert!(free("2001:db8:9:9::1"));
    assert!(free("192.0.2.1"));
}

#[test]
fn the_harder_the_load_the_harder_the_puzzle() {
    let config = always();
    let difficulty = |load| puzzle(&config, load, Some(Prf::HmacSha2_256)).map(|puzzle| puzzle.difficulty);
    assert_eq!(
        [0, 499, 500, 750, 1000, 5000].map(difficulty),
        [None, None, Some(4), Some(6), Some(8), Some(8)]
    );
}

#[test]
fn a_solved_puzzle_opens_the_door_once() {
    let now = Clock::new().now();
    let (mut admission, config) = loaded(now, 30);
    let mut random = SeededRandom::new(1);
    let from = "192.0.2.1:500";
    let mut judge = |applicant| admission.judge(&config, now, &mut random, applicant);
    let Verdict::CookieWanted(cookie) = judge(applicant(from, None)) else {
        panic!("no cookie");
    };
    let Verdict::PuzzleWanted(cookie, puzzle) = judge(applicant(from, Some(&cookie))) else {
        panic!("no puzzle");
    };
    let mut solver = crate::crypto::puzzle::Solver::new(puzzle, &cookie).unwrap();
    let crate::crypto::puzzle::Search::Solved(solution) = solver.work() else {
        panic!("not solved");
    };
    let solved = |from| Applicant {
        solution: Some(&solution),
        ..applicant(from, Some(&cookie))
    };
    // Bound to the address, by way of the cookie; a wrong solution is none.
    assert!(matches!(judge(solved("192.0.2.9:500")), Verdict::CookieWanted(_)));
    let wrong = PuzzleSolution(vec![1, 2, 3, 4]);
    let wrong = Applicant {
        solution: Some(&wrong),
        ..applicant(from, Some(&cookie))
    };
    assert_eq!(judge(wrong), Verdict::Full);
    assert_eq!(judge(solved(from)), Verdict::Admitted);
    assert_eq!(judge(solved(from)), Verdict::Full);
}

#[test]
fn who_solves_no_puzzles_is_served_sometimes() {
    let now = Clock::new().now();
    let (mut admission, config) = loaded(now, 30);
    let mut random = SeededRandom::new(1);
    let mut served = 0;
    for port in 1000..2000u16 {
        let from = format!("192.0.2.1:{port}");
        let mut judge = |cookie| admission.judge(&config, now, &mut random, applicant(&from, cookie));
        let Verdict::CookieWanted(cookie) = judge(None) else {
            panic!("no cookie");
        };
        let Verdict::PuzzleWanted(cookie, _) = judge(Some(&cookie)) else {
            panic!("no puzzle");
        };
        served += u32::from(judge(Some(&cookie)) == Verdict::Admitted);
    }
    // 30 of the 48 places for strangers are taken.
    assert!((300..450).contains(&served), "{served}");
}

#[test]
fn a_quarter_of_the_room_is_for_the_peers_that_are_expected() {
    let now = Clock::new().now();
    let (mut admission, config) = loaded(now, 48);
    let mut random = SeededRandom::new(1);
    let mut judge = |expected, cookie| {
        let applicant = Applicant {
            expected,
            ..applicant("192.0.2.1:500", cookie)
        };
        admission.judge(&config, now, &mut random, applicant)
    };
    let Verdict::CookieWanted(cookie) = judge(true, None) else {
        panic!("no cookie");
    };
    assert_eq!(judge(false, Some(&cookie)), Verdict::Full);
    assert_eq!(judge(true, Some(&cookie)), Verdict::Admitted);
}

#[test]
fn wasted_key_exchanges_are_forgotten_in_time() {
    let now = Clock::new().now();
    let (mut admission, config) = loaded(now, 48);
    let from = "192.0.2.1".parse().unwrap();
    let config = EndpointConfig {
        cookie_threshold: 8,
        ..config
    };
    assert!(!admission.serves_without_cookie(&config, now, from));
    let later = now + config.half_open_timeout;
    assert!(admission.serves_without_cookie(&config, later, from));
    assert_eq!(admission.taken(), 0);
}
