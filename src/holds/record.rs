//! What the store keeps of one name: who holds it, and who waits for it.
//!
//! ```text
//! word 0        limit (32 bits) | number of holders (32 bits)
//! 4 words each  holders: slot (16) | times (48), incarnation, thread, ticket
//! 4 words each  waiters, the first in the queue first: the same, times 0
//! ```
//!
//! Pure: bytes and lists. Between two changes, either nobody waits or all of `limit` is taken; a
//! record that says otherwise, as a cut-short change cannot leave it, mends itself at the next one.

use std::collections::HashSet;

use crate::store::peers::Peer;

const WORD: usize = size_of::<u64>();
const PARTY_WORDS: usize = 4;
const TIMES_SHIFT: u32 = 16;
const MAX_TIMES: u64 = (1 << 48) - 1;

/// One attempt of one thread to hold a name. No two are ever the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Party {
    pub(crate) peer: Peer,
    /// The thread, by a number of its process.
    pub(crate) thread: u64,
    /// The attempt, by a number of its process.
    pub(crate) ticket: u64,
}

impl Party {
    /// Whether both are of one thread of one process.
    pub(crate) fn is_same_thread(&self, other: &Party) -> bool {
        self.peer == other.peer && self.thread == other.thread
    }

    /// The bell on which this one waits.
    pub(crate) fn bell(&self) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = u64::from(self.peer.slot).wrapping_mul(ODD) ^ self.ticket;
        mixed.wrapping_mul(ODD) >> 32
    }
}

/// Who holds a name, and how many times over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Holder {
    pub(crate) party: Party,
    pub(crate) times: u64,
}

/// The state of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// How many may hold it at once.
    pub(crate) limit: u32,
    pub(crate) holders: Vec<Holder>,
    pub(crate) waiters: Vec<Party>,
}

impl Record {
    pub(crate) fn new(limit: u32) -> Record {
        Record { limit, holders: Vec::new(), waiters: Vec::new() }
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }

    /// Whether a newcomer can hold the name now, without passing anybody.
    pub(crate) fn is_free(&self) -> bool {
        self.waiters.is_empty() && self.holders.len() < self.limit as usize
    }

    pub(crate) fn hold(&mut self, party: Party) {
        self.holders.push(Holder { party, times: 1 });
    }

    /// The holder that is of the same thread.
    pub(crate) fn own(&mut self, party: &Party) -> Option<&mut Holder> {
        self.holders.iter_mut().find(|holder| holder.party.is_same_thread(party))
    }

    /// Whether only this thread stands in its own way: then waiting would never end.
    pub(crate) fn is_all_own(&self, party: &Party) -> bool {
        let mut holders = self.holders.iter();
        !self.holders.is_empty() && holders.all(|holder| holder.party.is_same_thread(party))
    }

    pub(crate) fn holds(&self, party: &Party) -> bool {
        self.holders.iter().any(|holder| holder.party == *party)
    }

    pub(crate) fn waits(&self, party: &Party) -> bool {
        self.waiters.contains(party)
    }

    /// Gives a hold back once; false if it is not held.
    pub(crate) fn leave(&mut self, party: &Party) -> bool {
        let Some(index) = self.holders.iter().position(|holder| holder.party == *party) else {
            return false;
        };
        let holder = &mut self.holders[index];
        holder.times = holder.times.saturating_sub(1);
        if holder.times == 0 {
            self.holders.remove(index);
        }
        true
    }

    /// Takes out all that these processes hold and wait for.
    pub(crate) fn forget(&mut self, peers: &HashSet<Peer>) {
        self.holders.retain(|holder| !peers.contains(&holder.party.peer));
        self.waiters.retain(|party| !peers.contains(&party.peer));
    }

    /// Hands over to those who have waited longest, as far as it goes; says to whom.
    pub(crate) fn hand_over(&mut self) -> Vec<Party> {
        let room = (self.limit as usize).saturating_sub(self.holders.len());
        let next: Vec<Party> = self.waiters.drain(..room.min(self.waiters.len())).collect();
        next.iter().for_each(|party| self.hold(*party));
        next
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        let count = self.holders.len() as u64;
        out.extend_from_slice(&(u64::from(self.limit) | count << 32).to_le_bytes());
        let holders = self.holders.iter().map(|holder| (&holder.party, holder.times));
        for (party, times) in holders.chain(self.waiters.iter().map(|party| (party, 0))) {
            let Party { peer, thread, ticket } = party;
            let first = u64::from(peer.slot) | times.min(MAX_TIMES) << TIMES_SHIFT;
            for word in [first, peer.incarnation, *thread, *ticket] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// `None` for bytes that are no such record.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
        let mut words = bytes
            .chunks_exact(WORD)
            .map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        let first = words.next()?;
        let rest = bytes.len() - WORD;
        let parties = rest / (WORD * PARTY_WORDS);
        let count = usize::try_from(first >> 32).ok()?;
        if !rest.is_multiple_of(WORD * PARTY_WORDS) || count > parties {
            return None;
        }
        let mut record = Record::new((first & u64::from(u32::MAX)) as u32);
        for index in 0..parties {
            let [slot, incarnation, thread, ticket] =
                [words.next()?, words.next()?, words.next()?, words.next()?];
            let peer = Peer { slot: (slot & u64::from(u16::MAX)) as u16, incarnation };
            let (party, times) = (Party { peer, thread, ticket }, slot >> TIMES_SHIFT);
            match index < count {
                true => record.holders.push(Holder { party, times }),
                false => record.waiters.push(party),
            }
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn party(number: u64) -> Party {
        let peer = Peer { slot: (number % 3) as u16, incarnation: 7 };
        Party { peer, thread: number % 2, ticket: number }
    }

    fn filled(limit: u32, holders: u64, waiters: u64) -> Record {
        let mut record = Record::new(limit);
        (0..holders).for_each(|number| record.hold(party(number)));
        record.waiters.extend((holders..holders + waiters).map(party));
        record
    }

    #[test]
    fn the_bytes_are_these() {
        let mut record = filled(3, 1, 1);
        record.holders[0].times = 2;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let words: Vec<u64> =
            bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words, [1 << 32 | 3, 2 << 16, 7, 0, 0, 1, 7, 1, 1]);
    }

    #[test]
    fn those_who_waited_longest_come_first() {
        let mut record = filled(2, 2, 3);
        assert!(record.hand_over().is_empty() && !record.is_free());
        assert!(record.leave(&party(0)) && !record.leave(&party(0)));
        assert_eq!(record.hand_over(), [party(2)]);
        assert!(record.holds(&party(1)) && record.holds(&party(2)) && record.waits(&party(3)));
        record.forget(&HashSet::from([party(1).peer]));
        assert_eq!(record.hand_over(), [party(3)], "4 was of the process that is gone");
        assert!(record.waiters.is_empty());
        record.forget(&HashSet::from([party(2).peer, party(3).peer]));
        assert!(record.is_idle() && record.is_free());
    }

    #[test]
    fn a_hold_that_was_taken_twice_is_given_back_twice() {
        let mut record = filled(1, 1, 1);
        let again = Party { ticket: 99, ..party(0) };
        record.own(&again).unwrap().times += 1;
        assert!(record.own(&party(1)).is_none());
        assert!(record.leave(&party(0)) && record.hand_over().is_empty());
        assert!(record.leave(&party(0)) && record.hand_over() == [party(1)]);
    }

    #[test]
    fn only_who_holds_everything_stands_in_its_own_way() {
        let mut record = filled(2, 1, 0);
        let same = Party { ticket: 50, ..party(0) };
        assert!(record.is_all_own(&same) && !record.is_all_own(&party(1)));
        record.hold(same);
        assert!(record.is_all_own(&same));
        record.hold(party(1));
        assert!(!record.is_all_own(&same) && !Record::new(1).is_all_own(&same));
    }

    quickcheck! {
        fn records_come_back(limit: u32, holders: u8, waiters: u8) -> bool {
            let record = filled(limit, holders.into(), waiters.into());
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            Record::decode(&bytes) == Some(record)
        }

        fn any_bytes_are_a_record_or_none(bytes: Vec<u8>) -> bool {
            let Some(record) = Record::decode(&bytes) else { return true };
            let mut again = Vec::new();
            record.encode(&mut again);
            Record::decode(&again).is_some()
        }
    }
}
