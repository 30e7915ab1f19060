//! The ledger's promises, against a kernel of paper.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use super::*;

/// What is set, and what is refused. Shared, so that it survives the daemon.
#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Sheet>>);

#[derive(Default)]
struct Sheet {
    set: Vec<Change>,
    refuses: Option<Change>,
    rival: Option<Change>,
    log: Vec<String>,
}

impl Kernel for Paper {
    async fn look(&self, change: &Change) -> Result<Standing, HostError> {
        let sheet = self.0.borrow();
        if sheet.rival.as_ref() == Some(change) {
            return Ok(Standing::Conflict("someone's".into()));
        }
        Ok(if sheet.set.contains(change) {
            Standing::Already
        } else {
            Standing::Wanting(before(change))
        })
    }

    async fn perform(&self, change: &Change) -> Result<(), HostError> {
        let mut sheet = self.0.borrow_mut();
        if sheet.refuses.as_ref() == Some(change) {
            let source = std::io::ErrorKind::PermissionDenied.into();
            return Err(HostError::Sysctl {
                change: change.clone(),
                source,
            });
        }
        sheet.set.push(change.clone());
        sheet.log.push(format!("+ {change}"));
        Ok(())
    }

    async fn undo(&self, entry: &Entry) -> Result<(), HostError> {
        let mut sheet = self.0.borrow_mut();
        sheet.set.retain(|change| *change != entry.change);
        sheet.log.push(format!("- {}", entry.change));
        Ok(())
    }
}

fn before(change: &Change) -> Option<String> {
    matches!(change, Change::Sysctl { .. }).then(|| "0".to_owned())
}

fn forward() -> Change {
    Change::Sysctl {
        key: "net/ipv4/ip_forward".into(),
        value: "1".into(),
    }
}

fn address(last: u8) -> Change {
    Change::Address {
        interface: "xvpn0".into(),
        address: format!("169.254.0.{last}/30").parse().unwrap(),
    }
}

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("xvpn-host-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn changes_are_undone_in_reverse_order_and_nothing_else_is() {
    let (paper, dir) = (Paper::default(), dir("reverse"));
    paper.0.borrow_mut().set.push(forward());
    block_on(async {
        let mut host = Host::open(&dir, paper.clone()).unwrap();
        host.settle(vec![forward(), address(1), address(2)])
            .await
            .unwrap();
        assert_eq!(host.changes().len(), 2, "what was already so is not ours");
        host.undo().await.unwrap();
    });
    let sheet = paper.0.borrow();
    let words: Vec<_> = [address(1), address(2)]
        .iter()
        .map(|c| format!("+ {c}"))
        .collect();
    let back: Vec<_> = [address(2), address(1)]
        .iter()
        .map(|c| format!("- {c}"))
        .collect();
    assert_eq!(sheet.log, [words, back].concat());
    assert_eq!(sheet.set, [forward()]);
    assert!(!dir.join("ledger.json").exists());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_crashed_run_is_taken_over_and_the_old_values_survive_it() {
    let (paper, dir) = (Paper::default(), dir("crash"));
    block_on(async {
        let mut host = Host::open(&dir, paper.clone()).unwrap();
        host.settle(vec![forward(), address(1)]).await.unwrap();
        drop(host); // The crash: nothing is undone.
        let mut host = Host::open(&dir, paper.clone()).unwrap();
        host.settle(vec![forward(), address(2)]).await.unwrap();
        assert_eq!(
            host.changes(),
            [format!("{} (was 0)", forward()), address(2).to_string()]
        );
        host.undo().await.unwrap();
    });
    assert!(paper.0.borrow().set.is_empty());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_change_is_in_the_ledger_before_it_is_made() {
    let (paper, dir) = (Paper::default(), dir("first"));
    paper.0.borrow_mut().refuses = Some(address(2));
    block_on(async {
        let mut host = Host::open(&dir, paper.clone()).unwrap();
        host.settle(vec![address(1), address(2), address(3)])
            .await
            .unwrap_err();
        drop(host);
        let mut next = Host::open(&dir, paper.clone()).unwrap();
        assert_eq!(next.changes().len(), 3);
        next.undo().await.unwrap();
    });
    assert!(paper.0.borrow().set.is_empty());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn refuses_to_displace_what_the_operator_set() {
    let (paper, dir) = (Paper::default(), dir("rival"));
    paper.0.borrow_mut().rival = Some(address(1));
    block_on(async {
        let mut host = Host::open(&dir, paper.clone()).unwrap();
        let error = host
            .settle(vec![forward(), address(1)])
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("someone's"), "{error}");
        assert!(
            paper.0.borrow().set.is_empty(),
            "nothing is changed if anything conflicts"
        );
    });
    std::fs::remove_dir_all(dir).unwrap();
}
