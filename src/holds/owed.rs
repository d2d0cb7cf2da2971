//! What could not be given back, for want of descriptors or memory say, and is to be given back yet.
//!
//! Its process lives, so nobody takes it for dead. It is tried again whenever the process takes, waits
//! for or gives back anything of the same cache.

use std::time::Duration;

use crate::error::Error;
use crate::holds::Holds;
use crate::holds::queue::{Hold, Release};

/// A hold, and how it is to be given back.
#[derive(Debug)]
pub(crate) struct Debt {
    pub(super) hold: Hold,
    pub(super) how: Release,
}

/// Why a hold was not given back.
pub(super) struct Kept {
    pub(super) error: Error,
    /// If it was given back all the same, a second time does nothing.
    pub(super) can_be_repeated: bool,
}

impl Holds {
    /// Remembers what is to be given back yet.
    pub(super) fn owe(&self, debt: Debt) {
        self.owed.get().lock().push(debt);
    }

    /// Gives back what is owed, as far as that can be done now.
    pub(super) fn pay(&self, timeout: Duration) {
        let Some(mut owed) = self.owed.get().try_lock() else { return };
        while let Some(debt) = owed.last() {
            if self.give_back(debt, timeout).is_err_and(|kept| kept.can_be_repeated) {
                return;
            }
            owed.pop();
        }
    }
}
