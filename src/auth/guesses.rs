//! Keys that open nothing, by where they come from: each answer to a further one takes longer (contract A1). Who has a good
//! key never waits, wherever he comes from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A page that was not deployed yet, a typing error: such tries cost nothing.
const FREE: u32 = 5;
const STEP: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);
/// So long without a bad key, and an address starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// Addresses that are remembered; a network of more of them is one guesser too.
const MOST_ADDRESSES: usize = 10_000;

#[derive(Default)]
pub(crate) struct Guesses {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_address: HashMap<IpAddr, (u32, Instant)>,
    /// Of those for whom there was no room.
    others: u32,
}

impl Guesses {
    /// Counts a bad key: how many there were in a row, and how long its answer waits.
    pub(crate) fn bad(&self, address: IpAddr) -> (u32, Duration) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.by_address.len() >= MOST_ADDRESSES && !state.by_address.contains_key(&address) {
            state.by_address.retain(|_, (_, last)| now - *last < FORGET_AFTER);
            if state.by_address.len() < MOST_ADDRESSES {
                state.others = 0;
            }
        }
        let count = if state.by_address.len() < MOST_ADDRESSES || state.by_address.contains_key(&address) {
            let (count, last) = state.by_address.entry(address).or_insert((0, now));
            if now - *last >= FORGET_AFTER {
                *count = 0;
            }
            *last = now;
            *count = count.saturating_add(1);
            *count
        } else {
            state.others = state.others.saturating_add(1);
            state.others
        };
        (count, (STEP * count.saturating_sub(FREE)).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn each_further_guess_takes_longer_and_only_for_who_guesses() {
        let guesses = Guesses::default();
        let waits: Vec<u128> = (0..8).map(|_| guesses.bad(address(1)).1.as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 20, 40, 60]);
        for _ in 0..1_000 {
            guesses.bad(address(1));
        }
        assert_eq!(guesses.bad(address(1)), (1_009, LONGEST));
        assert_eq!(guesses.bad(address(2)), (1, Duration::ZERO));
        tokio::time::advance(FORGET_AFTER).await;
        assert_eq!(guesses.bad(address(1)), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_guessers_fills_no_memory_and_waits_too() {
        let guesses = Guesses::default();
        for number in 0..2 * MOST_ADDRESSES as u32 {
            guesses.bad(address(number));
        }
        assert_eq!(guesses.state.lock().unwrap().by_address.len(), MOST_ADDRESSES);
        assert_eq!(guesses.bad(address(u32::MAX)).1, LONGEST);
    }
}
