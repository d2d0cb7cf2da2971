//! Acquiring and releasing: the queue of one name.
//!
//! ```text
//!   acquire                        released by all before it, or they are dead
//!      |    free                        |
//!      +-----------> held <---- look <--+-- sleep (2, 4, 8, 16, 20, 20.. ms, or until rung)
//!      |               |         ^              |  in vain: are those before me alive?
//!      '---> queued ---|---------'              '---> out of patience: leaves the queue
//!                      v
//!                   release: first in the queue <- held; its bell is rung
//! ```
//!
//! Who waits asks about those right before it: about the next in the queue, and, if there is nobody
//! alive before it, about the holders. So a death anywhere is noticed by whoever it holds up, 20 ms
//! later at most, and each waiter asks about one process at a time.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::clock::NEVER;
use crate::error::{Error, ErrorKind, Result};
use crate::holds::Holds;
use crate::holds::owed::{Debt, Kept};
use crate::holds::record::{Party, Record};
use crate::store::peers::Peer;
use crate::store::writer::{Found, Put, PutValue};
use crate::store::{HashedKey, Store, Writer};
use crate::sys::raw::process_token;
use crate::sys::sync::Ordering;

const SHORTEST_SLEEP: Duration = Duration::from_millis(2);
/// A death is noticed after this long at the latest. Shorter: sooner, and more work for who waits: at
/// 20 ms fifty looks a second, some three thousandths of a processor.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
/// What records of this store are: bytes.
const VALUE_KIND: u8 = 0;

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) name: &'a [u8],
    /// How many may hold the name at once.
    pub(crate) limit: u32,
    /// Whether a thread that holds the name gets it again.
    pub(crate) is_reentrant: bool,
    /// How long to wait; `None` is for ever, zero is not at all.
    pub(crate) patience: Option<Duration>,
    /// How long to wait for the writer lock of the store.
    pub(crate) timeout: Duration,
}

/// What came of it.
pub(crate) enum Answer {
    Held(Hold),
    /// Out of patience; the process that is in the way, if it is known.
    Taken(Option<u32>),
    /// This thread itself holds all there is, so that waiting would never end.
    Own,
    /// Everybody was sent away from the queue: what it was for may be done.
    Dismissed,
}

/// Something held. Ends by [`Holds::release`] only.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    name: Vec<u8>,
    party: Party,
    /// The process that took it.
    token: u64,
}

/// How a hold is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// To whoever has waited longest.
    HandOver,
    /// To nobody: all that wait are sent away, to see that what they wait for is done.
    Dismiss,
}

/// The first step of acquiring.
enum Entered {
    Held(Party),
    Queued(Party),
    Full(Party, Record),
    /// Held by others for another limit.
    Unlike(Party, Record),
    Own,
}

impl Holds {
    /// Takes a hold, waiting for it if need be. A free one costs about a microsecond and, but
    /// for the first use in a process, no system call.
    pub(crate) fn acquire(&self, ask: &Ask<'_>) -> Result<Answer> {
        let store = self.store()?;
        let key = store.hashed(ask.name);
        self.pay(ask.timeout);
        let held = |party| {
            Ok(Answer::Held(Hold { name: ask.name.to_vec(), party, token: process_token() }))
        };
        loop {
            match enter(store, key, ask)? {
                Entered::Held(party) => return held(party),
                Entered::Own if ask.patience == Some(Duration::ZERO) => {
                    return Ok(Answer::Taken(Some(std::process::id())));
                }
                Entered::Own => return Ok(Answer::Own),
                Entered::Queued(party) => {
                    let waiter = Waiter { holds: self, store, key, party, timeout: ask.timeout };
                    return match waiter.wait(ask.patience)? {
                        Standing::Held => held(party),
                        Standing::Dismissed => Ok(Answer::Dismissed),
                        Standing::OutOfPatience(process) => Ok(Answer::Taken(process)),
                    };
                }
                Entered::Full(party, record) => {
                    let dead = dead_before(store, &record, &party);
                    if dead.is_empty() {
                        return Ok(Answer::Taken(in_the_way(store, &record)));
                    }
                    forget(store, key, &dead, ask.timeout)?;
                }
                Entered::Unlike(party, record) => {
                    // What the dead used it for is nobody's concern.
                    let dead = dead_before(store, &record, &party);
                    if dead.is_empty() {
                        return Err(unlike(store, &record, ask));
                    }
                    forget(store, key, &dead, ask.timeout)?;
                }
            }
        }
    }

    /// Gives a hold back; false if it is held no more, or is not of this process.
    ///
    /// Waits as long as it takes: what is not given back would hold up everybody else. What cannot be
    /// given back now is owed.
    pub(crate) fn release(&self, hold: &Hold, how: Release) -> Result<bool> {
        if hold.token != process_token() {
            return Ok(false);
        }
        self.pay(Duration::MAX);
        let debt = Debt { hold: hold.clone(), how };
        self.give_back(&debt, Duration::MAX).map_err(|kept| {
            if kept.can_be_repeated {
                self.owe(debt);
            }
            kept.error
        })
    }

    pub(super) fn give_back(&self, debt: &Debt, timeout: Duration) -> Result<bool, Kept> {
        let Debt { hold, how } = debt;
        let mut can_be_repeated = true;
        let released = self.store().and_then(|store| {
            let next = hand_back(store, hold, *how, timeout, &mut can_be_repeated)?;
            ring(store, next.as_deref().unwrap_or_default());
            Ok(next.is_some())
        });
        released.map_err(|error| Kept { error, can_be_repeated })
    }
}

/// Takes a hold out of the record; who has the name then, if it was there.
fn hand_back(
    store: &Store,
    hold: &Hold,
    how: Release,
    timeout: Duration,
    can_be_repeated: &mut bool,
) -> Result<Option<Vec<Party>>> {
    let key = store.hashed(&hold.name);
    store.write(timeout, |writer| {
        writer.is_giving_back = true;
        let (Some(found), Some(mut record)) = load(writer, key)? else { return Ok(None) };
        if !record.leave(&hold.party) {
            return Ok(None);
        }
        // One that is held again would lose another of its times.
        *can_be_repeated = !record.holds(&hold.party);
        let mut next = match how {
            Release::Dismiss if record.holders.is_empty() => std::mem::take(&mut record.waiters),
            _ => record.hand_over(),
        };
        if let Err(error) = save(writer, key, Some(&found), &record) {
            // The disk has no room for the record, but always for a removal: everybody is sent
            // away, and asks anew. Others that hold the name must stay.
            if record.holders.len() > next.len() {
                return Err(error);
            }
            next.append(&mut record.waiters);
            writer.remove(key, &found, 0)?;
        }
        Ok(Some(next))
    })
}

/// Takes the name if it is free, or a place in the queue.
fn enter(store: &Store, key: HashedKey<'_>, ask: &Ask<'_>) -> Result<Entered> {
    let (thread, ticket) = (thread_number(), next_ticket());
    store.write_to(key.hash, ask.timeout, |writer| {
        let party = Party { peer: writer.peer(), thread, ticket };
        let (found, record) = load(writer, key)?;
        let mut record = record.unwrap_or_else(|| Record::new(ask.limit));
        if record.limit != ask.limit {
            return Ok(Entered::Unlike(party, record));
        }
        let entered = if let Some(own) = record.own(&party).filter(|_| ask.is_reentrant) {
            own.times += 1;
            Entered::Held(own.party)
        } else if record.is_free() {
            record.hold(party);
            Entered::Held(party)
        } else if record.is_all_own(&party) {
            return Ok(Entered::Own);
        } else if ask.patience == Some(Duration::ZERO) {
            return Ok(Entered::Full(party, record));
        } else {
            record.waiters.push(party);
            Entered::Queued(party)
        };
        save(writer, key, found.as_ref(), &record)?;
        Ok(entered)
    })
}

fn unlike(store: &Store, record: &Record, ask: &Ask<'_>) -> Error {
    Error::new(
        ErrorKind::Setting,
        format!(
            "the semaphore is in use for {} at once, and cannot be for {}: use the same number \
             everywhere",
            record.limit, ask.limit
        ),
    )
    .at(store.directory())
}

/// One that is in the queue.
struct Waiter<'a> {
    holds: &'a Holds,
    store: &'a Store,
    key: HashedKey<'a>,
    party: Party,
    timeout: Duration,
}

/// How a wait has ended.
enum Standing {
    Held,
    Dismissed,
    OutOfPatience(Option<u32>),
}

impl Waiter<'_> {
    fn wait(&self, patience: Option<Duration>) -> Result<Standing> {
        let waited = self.wait_until(patience);
        // Nobody is to wait for one that is gone; what it got meanwhile, it has.
        match waited {
            Err(error) => match self.leave() {
                Ok(Standing::Held) => Ok(Standing::Held),
                _ => Err(error),
            },
            waited => waited,
        }
    }

    fn wait_until(&self, patience: Option<Duration>) -> Result<Standing> {
        let (started, mut nap, mut buffer) = (Instant::now(), SHORTEST_SLEEP, Vec::new());
        let mut asked = started;
        loop {
            let left = patience.map_or(Duration::MAX, |all| all.saturating_sub(started.elapsed()));
            if left.is_zero() {
                return self.leave();
            }
            let bell = self.party.bell();
            let over = self.store.look_or_sleep(bell, nap.min(left), || self.look(&mut buffer))?;
            if let Some(standing) = over {
                return Ok(standing);
            }
            // However often the bell is rung for others, the kernel is asked now and then.
            if asked.elapsed() < nap {
                continue;
            }
            nap = (nap * 2).min(LONGEST_SLEEP);
            self.holds.pay(self.timeout);
            if let Some(record) = self.record(&mut buffer)? {
                let dead = dead_before(self.store, &record, &self.party);
                // If somebody else has the writer lock for long, there is time for another try.
                if !dead.is_empty()
                    && let Err(error) = forget(self.store, self.key, &dead, self.timeout)
                    && error.kind() != ErrorKind::Timeout
                {
                    return Err(error);
                }
            }
            asked = Instant::now();
        }
    }

    fn record(&self, buffer: &mut Vec<u8>) -> Result<Option<Record>> {
        let hit = self.store.get(self.key, None, buffer)?;
        Ok(hit.and_then(|_| Record::decode(buffer)))
    }

    /// Whether the wait is over. Takes no lock.
    fn look(&self, buffer: &mut Vec<u8>) -> Result<Option<Standing>> {
        Ok(match self.record(buffer)? {
            Some(record) if record.holds(&self.party) => Some(Standing::Held),
            Some(record) if record.waits(&self.party) => None,
            _ => Some(Standing::Dismissed),
        })
    }

    /// Leaves the queue, unless it came to its turn at the last moment.
    ///
    /// Waits for the writer lock as long as it takes: one that has gone and is still in the queue
    /// would be given the name, and never give it back.
    fn leave(&self) -> Result<Standing> {
        self.store.write(Duration::MAX, |writer| {
            writer.is_giving_back = true;
            let (Some(found), Some(mut record)) = load(writer, self.key)? else {
                return Ok(Standing::Dismissed);
            };
            if record.holds(&self.party) {
                return Ok(Standing::Held);
            }
            let before = record.waiters.len();
            record.waiters.retain(|party| *party != self.party);
            if record.waiters.len() == before {
                return Ok(Standing::Dismissed);
            }
            save(writer, self.key, Some(&found), &record)?;
            Ok(Standing::OutOfPatience(in_the_way(self.store, &record)))
        })
    }
}

/// The process of somebody who holds the name.
fn in_the_way(store: &Store, record: &Record) -> Option<u32> {
    record.holders.first().and_then(|holder| store.process_number(holder.party.peer))
}

/// The processes before `party` that are dead: those in the queue up to the next that lives, and if
/// there is none, those that hold.
fn dead_before(store: &Store, record: &Record, party: &Party) -> HashSet<Peer> {
    let mut known = HashMap::from([(party.peer, false)]);
    let mut is_dead = |peer: Peer| *known.entry(peer).or_insert_with(|| store.is_over(peer));
    let place = record.waiters.iter().position(|waiter| waiter == party);
    let before = &record.waiters[..place.unwrap_or(record.waiters.len())];
    if before.iter().rev().all(|waiter| is_dead(waiter.peer)) {
        record.holders.iter().for_each(|holder| {
            is_dead(holder.party.peer);
        });
    }
    // They may come in any order: they are only asked for.
    known.into_iter().filter(|(_, is_dead)| *is_dead).map(|(peer, _)| peer).collect()
}

/// Takes the dead out, and lets those who come after them go on.
fn forget(
    store: &Store,
    key: HashedKey<'_>,
    dead: &HashSet<Peer>,
    timeout: Duration,
) -> Result<()> {
    let next = store.write(timeout, |writer| {
        writer.is_giving_back = true;
        let (Some(found), Some(mut record)) = load(writer, key)? else { return Ok(Vec::new()) };
        record.forget(dead);
        let next = record.hand_over();
        save(writer, key, Some(&found), &record)?;
        Ok(next)
    })?;
    ring(store, &next);
    Ok(())
}

fn ring(store: &Store, parties: &[Party]) {
    parties.iter().for_each(|party| store.ring(party.bell()));
}

/// What is stored under a name, and the record that it is, under the lock. A damaged one is none, and
/// so is one of nobody, which is never stored: its limit would bind all for ever.
fn load(writer: &Writer<'_>, key: HashedKey<'_>) -> Result<(Option<Found>, Option<Record>)> {
    let Some(found) = writer.find(key)? else { return Ok((None, None)) };
    let (mut tag, mut bytes) = (Vec::new(), Vec::new());
    let is_sound = writer.read(&found, &mut tag, &mut bytes)?;
    let record = Record::decode(&bytes).filter(|record| is_sound && !record.is_idle());
    Ok((Some(found), record))
}

/// Keeps the record of a name, or removes it if there is nothing to remember.
fn save(
    writer: &mut Writer<'_>,
    key: HashedKey<'_>,
    found: Option<&Found>,
    record: &Record,
) -> Result<()> {
    if record.is_idle() {
        return found.map_or(Ok(()), |found| writer.remove(key, found, 0));
    }
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    put(writer, key, found, &bytes)
}

/// Stores bytes under a name.
pub(crate) fn put(
    writer: &mut Writer<'_>,
    key: HashedKey<'_>,
    found: Option<&Found>,
    bytes: &[u8],
) -> Result<()> {
    let put = Put {
        value_kind: VALUE_KIND,
        value: PutValue::Bytes(bytes),
        tag: &[],
        expires_ms: NEVER,
        stored_ms: 0,
        keep_access: true,
    };
    writer.put(key, found, put)
}

/// A number that no other thread of this process has or had.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static OWN: Cell<u64> = const { Cell::new(0) };
    }
    let draw = |own: &Cell<u64>| {
        if own.get() == 0 {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    };
    // At the end of a thread there may be no place any more: then it counts as another one.
    OWN.try_with(draw).unwrap_or_else(|_| NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A number that no other attempt of this process has or had.
fn next_ticket() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
