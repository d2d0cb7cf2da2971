//! Tests of `raw`.

use super::*;
use crate::sys::map::Map;
use crate::sys::testing::Child;

#[test]
fn the_token_is_one_for_all_threads_and_another_one_in_a_child() {
    let token = process_token();
    assert_ne!(token, 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(process_token(), token));
        }
    });
    let child = Child::fork(|| {
        let own = process_token();
        let stays = own != 0 && own != token && own == process_token();
        stays && Child::fork(|| ![own, token].contains(&process_token())).succeeded()
    });
    assert!(child.succeeded());
    assert_eq!(process_token(), token);
}

#[test]
fn the_spare_token_is_forgotten_in_a_child() {
    let cell = spare_cell().unwrap();
    assert!(std::ptr::eq(cell, &SPARE_TOKEN));
    SPARE_TOKEN.store(7, Ordering::Relaxed);
    assert!(Child::fork(|| SPARE_TOKEN.load(Ordering::Relaxed) == 0).succeeded());
    assert_eq!(SPARE_TOKEN.load(Ordering::Relaxed), 7);
}

#[test]
fn a_watch_sees_forks() {
    let watch = ForkWatch::start();
    drop(Child::fork(|| true));
    assert!(watch.has_forked());
}

#[test]
fn a_futex_sleeps_only_on_the_expected_value_and_not_for_ever() {
    let word = AtomicU32::new(1);
    assert!(futex_wait(&word, 0, Duration::from_secs(60)).unwrap());
    while futex_wait(&word, 1, Duration::from_millis(1)).unwrap() {}
    futex_wake(&word, 1);
}

#[test]
fn a_futex_wakes_another_process() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let map = Map::new(&file, 4096, true).unwrap();
    let word = map.half(64).unwrap();
    let child = Child::fork(|| {
        while word.load(Ordering::Acquire) == 0 {
            futex_wait(word, 0, Duration::from_secs(60)).unwrap();
        }
        true
    });
    word.store(1, Ordering::Release);
    futex_wake(word, 1);
    assert!(child.succeeded());
}

#[test]
fn random_numbers_differ_and_fill_all_bytes() {
    assert_ne!(random_u64().unwrap(), random_u64().unwrap());
    let mut bytes = [0; 1000];
    random_bytes(&mut bytes).unwrap();
    assert!(bytes.chunks(100).all(|part| part.iter().any(|&byte| byte != 0)));
}

#[test]
fn byte_locks_belong_to_the_open_file_and_the_byte() {
    let place = tempfile::NamedTempFile::new().unwrap();
    let [one, two] = [(); 2].map(|()| place.reopen().unwrap());
    assert!(byte_lock(&one, 5).unwrap());
    assert!(!byte_lock(&two, 5).unwrap());
    assert!(byte_lock(&two, 6).unwrap());
    byte_unlock(&one, 5);
    assert!(byte_lock(&two, 5).unwrap());
}

#[test]
fn a_chain_keeps_what_all_threads_add_and_adds_equal_things_once() {
    const EACH: u32 = 500;
    let mut chain = Chain::new();
    std::thread::scope(|scope| {
        let push_all = || {
            for number in 0..EACH {
                chain.push_unless(number, |&other| other == number);
            }
        };
        // Joined one by one, which ThreadSanitizer understands.
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(push_all)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let mut numbers: Vec<u32> = chain.iter().copied().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..EACH).collect::<Vec<u32>>());
    chain.end(|_| true);
    assert_eq!(chain.iter().count(), 0);
}
