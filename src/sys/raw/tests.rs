//! Tests of `raw`.

use super::*;
use crate::sys::map::Map;
use crate::sys::testing::Child;

#[test]
fn the_token_is_one_for_all_threads_and_another_one_in_a_child() {
    let token = process_token();
    assert_ne!(token, 0);
    assert_ne!(token, u64::from(std::process::id()), "which another process may get later");
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
fn the_kernel_wipes_the_page_of_the_token() {
    assert!(wiped_page().is_some());
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
    let over = &map.words()[0];
    let child = Child::fork(|| {
        let woken = futex_wait(word, 0, Duration::from_secs(10)).unwrap();
        over.store(1, Ordering::Release);
        woken
    });
    // The word stays as it is: nothing but a wake ends the sleep before its time.
    while over.load(Ordering::Acquire) == 0 {
        futex_wake(word, 1);
        std::thread::yield_now();
    }
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
    let for_reading = std::fs::File::open(place.path()).unwrap();
    assert!(byte_lock(&for_reading, 7).is_err());
}

#[test]
fn a_fork_that_takes_long_is_not_waited_for() {
    let place = tempfile::NamedTempFile::new().unwrap();
    // In a child, as these numbers belong to all threads of a process.
    let child = Child::fork(|| {
        let file = place.reopen().unwrap();
        let entry = PrivateEntry::register(&file).unwrap();
        let quiet = is_quiet() && !ForkWatch::start().has_forked();
        before_fork();
        before_fork();
        let unsure = ForkWatch::start().has_forked();
        // The child of such a fork may still have the descriptor.
        entry.forget();
        let kept = entry.is_of(&file, process_token());
        let running = [(2, true), (1, false), (0, false), (0, false)].map(|(expected, is_kept)| {
            let now = RUNNING.load(Ordering::Relaxed);
            after_fork();
            now == expected && entry.is_of(&file, process_token()) == is_kept
        });
        quiet && running == [true; 4] && unsure && kept
    });
    assert!(child.succeeded());
}

#[test]
fn a_child_closes_the_registered_descriptor_and_no_other() {
    let places = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
    // In a child, where no entry of another test names a descriptor.
    let child = Child::fork(|| {
        let files = places.each_ref().map(|place| place.reopen().unwrap());
        let process = process_token();
        let entry = PrivateEntry::register(&files[0]).unwrap();
        let keeps = || Child::fork(|| files[0].metadata().is_ok()).succeeded();
        let is_its = entry.is_of(&files[0], process)
            && !entry.is_of(&files[1], process)
            && !entry.is_of(&files[0], process + 1);
        let closes = Child::fork(|| files[0].metadata().is_err() && files[1].metadata().is_ok());
        let closes = closes.succeeded();
        // The number is another file's by the time of the fork.
        let spares = [&entry.device, &entry.inode].map(|word| {
            let right = word.fetch_add(1, Ordering::Relaxed);
            let kept = keeps();
            word.store(right, Ordering::Relaxed);
            kept
        });
        entry.forget();
        is_its && closes && spares == [true; 2] && !entry.is_of(&files[0], process) && keeps()
    });
    assert!(child.succeeded());
}

#[test]
fn a_page_is_a_power_of_two() {
    assert!(page_size() >= 4096 && page_size().is_power_of_two());
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
