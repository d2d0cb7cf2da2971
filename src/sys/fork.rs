//! A value that belongs to one process: the child of a fork makes its own.
//!
//! A fork copies the memory of all threads but goes on with one. A mutex that another thread held at
//! that moment is locked for ever in the child, and a claim of the parent is none of the child's. So
//! what holds such things lies in a [`ForkLocal`]: in the child, the first use makes a fresh value,
//! and the parent's is left where it is, neither used nor dropped.
//!
//! ```text
//! list   (child's token, value) -> (parent's token, value) -> (grandparent's token, value)
//! ```
//!
//! Finding the own value is a load of the token and of the first item. There is no lock anywhere.

use crate::sys::raw::{Chain, process_token};

/// One `T` for each process, made by `F` at its first use there.
pub(crate) struct ForkLocal<T, F = fn() -> T> {
    values: Chain<(u64, T)>,
    make: F,
}

impl<T, F: Fn() -> T> ForkLocal<T, F> {
    /// Makes nothing yet. When several threads come first at once, `make` runs in each of them, and
    /// all but one of the values are dropped.
    pub(crate) const fn new(make: F) -> ForkLocal<T, F> {
        ForkLocal { values: Chain::new(), make }
    }

    /// The value of this process.
    pub(crate) fn get(&self) -> &T {
        self.existing().unwrap_or_else(|| self.first())
    }

    #[cold]
    fn first(&self) -> &T {
        let token = process_token();
        let value = (self.make)();
        &self.values.push_unless((token, value), |(owner, _)| *owner == token).1
    }
}

impl<T, F> ForkLocal<T, F> {
    /// The value of this process, if it has been made.
    pub(crate) fn existing(&self) -> Option<&T> {
        let token = process_token();
        self.values.iter().find(|(owner, _)| *owner == token).map(|(_, value)| value)
    }
}

impl<T, F> Drop for ForkLocal<T, F> {
    fn drop(&mut self) {
        let token = process_token();
        self.values.end(|(owner, _)| *owner == token);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;
    use crate::sys::sync::Ordering;
    use crate::sys::testing::Child;

    #[test]
    fn all_threads_share_one_value() {
        let made = AtomicUsize::new(0);
        let local = ForkLocal::new(|| made.fetch_add(1, Ordering::Relaxed));
        assert!(local.existing().is_none());
        let seen: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| *local.get())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|value| value == local.get()));
        assert_eq!(local.existing(), Some(local.get()));
    }

    #[test]
    fn a_child_makes_its_own_and_the_parent_keeps_its_own() {
        static LOCAL: ForkLocal<u64> = ForkLocal::new(process_token);
        let own = *LOCAL.get();
        let child = Child::fork(|| {
            let fresh = *LOCAL.get();
            fresh == process_token()
                && fresh != own
                && Child::fork(|| ![own, fresh].contains(LOCAL.get())).succeeded()
        });
        assert!(child.succeeded());
        assert_eq!(*LOCAL.get(), own);
    }

    #[test]
    fn threads_of_a_child_that_come_first_at_once_agree() {
        let local = ForkLocal::new(|| Box::new(process_token()));
        local.get();
        let child = Child::fork(|| {
            let addresses: Vec<usize> = std::thread::scope(|scope| {
                let address = || std::ptr::from_ref(local.get().as_ref()).addr();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(address)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            addresses.windows(2).all(|pair| pair[0] == pair[1])
        });
        assert!(child.succeeded());
    }

    #[test]
    fn a_mutex_that_was_locked_at_the_fork_is_free_in_the_child() {
        let local = ForkLocal::new(|| Mutex::new(()));
        let (locked, wait_locked) = mpsc::channel();
        let (finish, wait_finish) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let local = &local;
            scope.spawn(move || {
                let _guard = local.get().lock().unwrap();
                locked.send(()).unwrap();
                wait_finish.recv().unwrap();
            });
            wait_locked.recv().unwrap();
            let child = Child::fork(|| local.get().try_lock().is_ok());
            assert!(local.get().try_lock().is_err());
            finish.send(()).unwrap();
            assert!(child.succeeded());
        });
    }

    #[test]
    fn dropping_drops_the_own_value_only() {
        static DROPS: AtomicUsize = AtomicUsize::new(0);
        struct Counted;
        impl Drop for Counted {
            fn drop(&mut self) {
                DROPS.fetch_add(1, Ordering::Relaxed);
            }
        }
        let local = Cell::new(Some(ForkLocal::new(|| Counted)));
        let held = local.take().inspect(|local| _ = local.get());
        local.set(held);
        // A child has a copy of everything: what it takes out of the cell stays there here.
        let unused = Child::fork(|| {
            drop(local.take());
            DROPS.load(Ordering::Relaxed) == 0
        });
        assert!(unused.succeeded());
        let used = Child::fork(|| {
            drop(local.take().inspect(|local| _ = local.get()));
            DROPS.load(Ordering::Relaxed) == 1
        });
        assert!(used.succeeded());
        drop(local.take());
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
    }
}
