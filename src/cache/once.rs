//! Values that are computed once at a time, across threads and processes.
//!
//! ```text
//! the value is there?  yes: done, as cheap as reading
//! hold the key         others that come now wait, asleep
//! there by now?        yes: done
//! compute, store, let go        all that wait look again, and find it
//! ```
//!
//! The hold (`holds`) ends with its process. So if the one that computes is killed, or panics, or
//! gives an error, the next in the queue computes. Within a transaction of the same thread nothing
//! is held: the writer lock keeps others from storing meanwhile, and to wait for somebody who
//! perhaps waits for that lock would never end.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::SetOptions;
use crate::cache::read::with_scratch;
use crate::cache::write::Over;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_buf::ToKey;
use crate::holds::Holds;
use crate::holds::queue::{Answer, Ask, Hold, Release};

/// What names of computations begin with, so that they are not those of locks.
const FLIGHT: u8 = b'F';
/// How long those who can do without wait for the lock of the holds: somebody may be stopped in it.
const BRIEFLY: Duration = Duration::from_millis(10);

impl Cache {
    /// Gives the value of a key; if there is none, computes and stores it, once at a time per key:
    /// of all threads and processes that ask meanwhile, one computes, and the others sleep until
    /// its value is there.
    ///
    /// A value that is there costs no more than [`Cache::get`]. If `compute` gives an error, or
    /// panics, or its process is killed, nothing is stored, and the next one that waits computes.
    /// Inside a transaction of this thread the value is computed at once, without waiting for
    /// others who may be computing it. Two computations that each need the other's value wait for
    /// each other for ever, like any two locks that are taken in opposite orders.
    ///
    /// # Errors
    ///
    /// That of `compute`; [`ErrorKind::Unsupported`] if `compute` asks for the key that it is
    /// computing; when the value is to be stored, those of [`Cache::set_with`].
    ///
    /// ```
    /// use firncache::{Cache, Error, SetOptions};
    ///
    /// let cache = Cache::temporary()?;
    /// let length = |text: &str| {
    ///     cache.get_or_set_with(text, SetOptions::new(), || Ok::<_, Error>(text.len()))
    /// };
    /// assert_eq!(length("four")?, 4);
    /// assert_eq!(length("four")?, 4); // not computed again
    /// assert_eq!(cache.get("four")?, Some(4));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_or_set_with<V, E>(
        &self,
        key: impl ToKey,
        options: SetOptions,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        V: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let key = self.encoded_key(&key)?;
        if let Some(value) = with_scratch(|buffer| self.get_encoded(key.as_bytes(), buffer))? {
            return Ok(value);
        }
        self.compute_once(key.as_bytes(), &options, |_| true, compute)
    }

    /// Computes the value of a key that was not there a moment ago, once at a time, and stores it
    /// if it is to be kept.
    #[cold]
    pub(crate) fn compute_once<V, E>(
        &self,
        key: &[u8],
        options: &SetOptions,
        is_kept: impl FnOnce(&V) -> bool,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        V: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let flight = match self.is_in_transaction() {
            true => None,
            false => match self.begin_flight(key)? {
                Begun::Flight(flight) => Some(flight),
                Begun::Landed(value) => return Ok(value),
            },
        };
        let value = compute()?;
        if is_kept(&value) {
            self.store_encoded(key, &value, options, Over::Any)?;
            if let Some(flight) = flight {
                flight.land();
            }
        }
        Ok(value)
    }

    /// Waits until nobody else computes the value of a key; gives the value if it is there then.
    fn begin_flight<V: DeserializeOwned>(&self, key: &[u8]) -> Result<Begun<'_, V>> {
        loop {
            let flight = match self.ask_for_flight(key, true)? {
                Answer::Held(hold) => Some(Flight::new(self.holds()?, hold)),
                Answer::Dismissed | Answer::Taken(_) => None,
                Answer::Own => return Err(self.asked_from_inside()),
            };
            let value = with_scratch(|buffer| {
                let Some(record) = self.read_whole(key, None, buffer)? else { return Ok(None) };
                self.decode(record.header.value_kind, buffer).map(Some)
            })?;
            match (flight, value) {
                (flight, Some(value)) => {
                    flight.into_iter().for_each(Flight::land);
                    return Ok(Begun::Landed(value));
                }
                (Some(flight), None) => return Ok(Begun::Flight(flight)),
                (None, None) => {}
            }
        }
    }

    /// Takes the right to compute the value of a key if nobody has it.
    pub(crate) fn try_flight(&self, key: &[u8]) -> Result<Option<Flight<'_>>> {
        Ok(match self.ask_for_flight(key, false)? {
            Answer::Held(hold) => Some(Flight::new(self.holds()?, hold)),
            _ => None,
        })
    }

    fn ask_for_flight(&self, key: &[u8], is_patient: bool) -> Result<Answer> {
        let mut name = Vec::with_capacity(1 + key.len());
        name.push(FLIGHT);
        name.extend_from_slice(key);
        self.holds()?.acquire(&Ask {
            name: &name,
            limit: 1,
            is_reentrant: false,
            patience: if is_patient { None } else { Some(Duration::ZERO) },
            timeout: if is_patient { self.timeout() } else { self.timeout().min(BRIEFLY) },
        })
    }

    fn asked_from_inside(&self) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            "a value was asked for from inside its own computation, which would wait for itself: \
             call the function that computes it directly, or use another key inside",
        )
        .at(self.directory())
    }
}

/// What waiting for a computation has come to.
enum Begun<'a, V> {
    /// The value is to be computed here.
    Flight(Flight<'a>),
    /// Another one has computed it.
    Landed(V),
}

/// The right to compute the value of one key. Dropped, it goes to the next that waits.
pub(crate) struct Flight<'a> {
    holds: &'a Holds,
    hold: Hold,
    how: Release,
}

impl<'a> Flight<'a> {
    fn new(holds: &'a Holds, hold: Hold) -> Flight<'a> {
        Flight { holds, hold, how: Release::HandOver }
    }

    /// The value is stored: all that wait need not compute it.
    pub(crate) fn land(mut self) {
        self.how = Release::Dismiss;
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        // What cannot be given back now is owed; the value is not worth less for it.
        let _ = self.holds.release(&self.hold, self.how);
    }
}
