//! Who may run next: slots that are given in turn, by organization and then by key, so that many questions of one are
//! no longer wait for the others (contract A1, shares).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::shares::{Over, Part, Share, Shares, Sizes, Taker};

/// The longest that somebody is told to wait.
const LONGEST_WAIT: f64 = 60.0;
/// Of the newest in the average of how long a slot is held.
const WEIGHT: f64 = 0.2;

/// Slots of one kind.
pub(crate) struct Turns {
    slots: Arc<Shares>,
    capacity: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// When an organization and a key had their last turn, counted in turns. Forgotten when nobody waits.
    served: HashMap<Arc<str>, u64>,
    turn: u64,
    /// How long a slot is held on average.
    seconds: f64,
}

struct Waiting {
    taker: Taker,
    number: u64,
    sender: oneshot::Sender<Turn>,
}

/// A slot; dropping it gives it to the next.
pub(crate) struct Turn {
    share: Option<Share>,
    turns: Arc<Turns>,
    since: Instant,
}

/// No slot in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoTurn {
    /// Whether one's own share is what was over.
    pub(crate) is_own: bool,
    /// When to try again.
    pub(crate) seconds: u64,
}

impl Turns {
    /// One organization gets three quarters of the slots where it is alone, and one slot where there are few.
    pub(crate) fn new(capacity: usize) -> Arc<Turns> {
        let capacity = capacity.max(1);
        let slots = Shares::new(Sizes { capacity, floor: 1, organization_part: Part(3, 1), key_part: None });
        Arc::new(Turns { slots, capacity, queue: Mutex::default() })
    }

    pub(crate) fn slots(&self) -> &Shares {
        &self.slots
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    /// Waits so long for a slot.
    pub(crate) async fn take(self: &Arc<Self>, taker: &Taker, patience: Duration) -> Result<Turn, NoTurn> {
        let (sender, turn) = oneshot::channel();
        {
            let mut queue = self.queue();
            queue.turn += 1;
            let number = queue.turn;
            queue.waiting.push(Waiting { taker: taker.clone(), number, sender });
        }
        self.serve();
        match timeout(patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => self.try_take(taker),
        }
    }

    /// At once or not at all.
    pub(crate) fn try_take(self: &Arc<Self>, taker: &Taker) -> Result<Turn, NoTurn> {
        let taken = self.slots.try_take(taker, 1);
        taken.map(|share| self.turn(share)).map_err(|over| NoTurn { is_own: over == Over::Own, seconds: self.wait() })
    }

    fn turn(self: &Arc<Self>, share: Share) -> Turn {
        Turn { share: Some(share), turns: Arc::clone(self), since: Instant::now() }
    }

    /// About how long until all that wait have had their turn.
    fn wait(&self) -> u64 {
        let queue = self.queue();
        let seconds = queue.seconds * (queue.waiting.len() + 1) as f64 / self.capacity as f64;
        seconds.ceil().clamp(1.0, LONGEST_WAIT) as u64
    }

    /// Gives what is free to those who wait: first who had the last turn longest ago.
    fn serve(self: &Arc<Self>) {
        // Of those who went away: they come back here, which must not be while the queue is locked.
        let mut left: Vec<Turn> = Vec::new();
        let mut queue = self.queue();
        queue.waiting.retain(|one| !one.sender.is_closed());
        loop {
            let mut order: Vec<usize> = (0..queue.waiting.len()).collect();
            order.sort_by_key(|at| queue.waiting.get(*at).map(|one| queue.rank(one)));
            let mut taken = None;
            for at in order {
                let Some(one) = queue.waiting.get(at) else { continue };
                match self.slots.try_take(&one.taker, 1) {
                    Ok(share) => {
                        taken = Some((at, share));
                        break;
                    }
                    Err(Over::Own) => {}
                    Err(Over::All) => break,
                }
            }
            let Some((at, share)) = taken else { break };
            let Waiting { taker, sender, .. } = queue.waiting.swap_remove(at);
            queue.turn += 1;
            let turn = queue.turn;
            queue.served.insert(taker.organization, turn);
            queue.served.insert(taker.key, turn);
            left.extend(sender.send(self.turn(share)).err());
        }
        if queue.waiting.is_empty() {
            queue.served.clear();
        }
        drop(queue);
        drop(left);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn rank(&self, one: &Waiting) -> (u64, u64, u64) {
        let served = |name: &Arc<str>| self.served.get(name).copied().unwrap_or_default();
        (served(&one.taker.organization), served(&one.taker.key), one.number)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.share.take().is_some() {
            let held = self.since.elapsed().as_secs_f64();
            let mut queue = self.turns.queue();
            queue.seconds += WEIGHT * (held - queue.seconds);
            drop(queue);
            self.turns.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taker(organization: &str, key: &str) -> Taker {
        Taker { organization: organization.into(), key: key.into(), address: None }
    }

    #[tokio::test(start_paused = true)]
    async fn slots_go_in_turn_by_organization_then_key() {
        let turns = Turns::new(1);
        let first = turns.take(&taker("a", "a1"), Duration::ZERO).await.unwrap();
        let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
        for (organization, key) in
            [("a", "a1"), ("a", "a1"), ("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b1"), ("c", "c1")]
        {
            let (turns, sender) = (Arc::clone(&turns), sender.clone());
            let taker = taker(organization, key);
            tokio::spawn(async move {
                let turn = turns.take(&taker, Duration::from_secs(3_600)).await.unwrap();
                sender.send(key).unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(turn);
            });
            tokio::task::yield_now().await;
        }
        drop((first, sender));
        let mut order = Vec::new();
        while let Some(key) = served.recv().await {
            order.push(key);
        }
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b1", "a1", "a1"]);
        assert!(turns.queue().served.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_all_it_gets_leaves_slots_to_others() {
        let turns = Turns::new(8);
        let mut held = Vec::new();
        let refused = loop {
            match turns.take(&taker("a", "a1"), Duration::from_secs(5)).await {
                Ok(turn) => held.push(turn),
                Err(refused) => break refused,
            }
        };
        assert_eq!((held.len(), refused), (6, NoTurn { is_own: true, seconds: 1 }));
        for organization in ["b", "c"] {
            held.push(turns.take(&taker(organization, organization), Duration::ZERO).await.unwrap());
        }
        assert!(matches!(turns.try_take(&taker("d", "d")), Err(NoTurn { is_own: false, .. })));
        // What a slot took tells how long the next one will.
        tokio::time::advance(Duration::from_secs(40)).await;
        held.truncate(7);
        let seconds = turns.try_take(&taker("a", "a1")).err().map(|refused| refused.seconds);
        assert_eq!(seconds, Some(1));
        tokio::time::advance(Duration::from_secs(400)).await;
        held.truncate(3);
        assert!(turns.wait() > 1);
    }

    #[tokio::test]
    async fn who_goes_away_holds_nothing() {
        let turns = Turns::new(1);
        let held = turns.take(&taker("a", "a"), Duration::ZERO).await.unwrap();
        let mut waiting = Box::pin(async { turns.take(&taker("b", "b"), Duration::from_secs(60)).await });
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(waiting);
        drop(held);
        assert!(turns.try_take(&taker("c", "c")).is_ok());
        assert!(turns.queue().waiting.is_empty());
    }
}
