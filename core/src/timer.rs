//! Temporary.
use crate::clock::Instant;
use crate::handle::*;
use crate::table::*;
/// Q
#[derive(Debug)]
pub struct Queue<T, const N: usize> {
    t: Table<(Instant, u64, T), N>,
    seq: u64,
}
impl<T, const N: usize> Queue<T, N> {
    /// n
    pub const fn new() -> Self {
        Self {
            t: Table::new(),
            seq: 0,
        }
    }
    /// n
    pub fn set_salt(&mut self, s: u64) {
        self.t.set_salt(s)
    }
    /// n
    pub fn len(&self) -> usize {
        self.t.len()
    }
    /// n
    pub fn insert(&mut self, d: Instant, v: T) -> Result<TimerId, Full<T>> {
        self.seq += 1;
        let s = self.seq;
        match self.t.insert(Tag::Timer, (d, s, v)) {
            Ok(h) => Ok(TimerId::from_handle(h).unwrap()),
            Err(Full((_, _, v))) => Err(Full(v)),
        }
    }
    /// n
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.t.remove(id.handle()).map(|x| x.2)
    }
    /// n
    pub fn reschedule(&mut self, id: TimerId, d: Instant) -> bool {
        self.seq += 1;
        let s = self.seq;
        match self.t.get_mut(id.handle()) {
            Some(x) => {
                x.0 = d;
                x.1 = s;
                true
            }
            None => false,
        }
    }
    /// n
    pub fn deadline(&self, id: TimerId) -> Option<Instant> {
        self.t.get(id.handle()).map(|x| x.0)
    }
    /// n
    pub fn get_mut(&mut self, id: TimerId) -> Option<&mut T> {
        self.t.get_mut(id.handle()).map(|x| &mut x.2)
    }
    /// n
    pub fn first_deadline(&self) -> Option<Instant> {
        self.t.iter().map(|(_, x)| x.0).min()
    }
    /// n
    pub fn peek_due(&self, now: Instant) -> Option<(TimerId, Instant, &T)> {
        self.t
            .iter()
            .min_by_key(|(_, x)| (x.0, x.1))
            .filter(|(_, x)| x.0 <= now)
            .map(|(h, x)| (TimerId::from_handle(h).unwrap(), x.0, &x.2))
    }
}
