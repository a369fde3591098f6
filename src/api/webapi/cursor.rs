//! How far a walk through a list has come, signed: clients carry it about and may not make one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::api::http::problem::Problem;
use crate::auth::secret::Secret;
use crate::model::ids::EpochMillis;
use crate::query::search::place::Progress;

const LIFE_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Keeps signatures of other uses of the secret apart.
const PURPOSE: &[u8] = b"conversation list cursor 2\0";
const MAX_CHARS: usize = 8_192;

#[derive(Serialize, Deserialize)]
struct Payload {
    /// The last row that was shown.
    progress: Progress,
    /// Of the caller and the list's parameters: it means nothing in another list.
    list: String,
    expires: EpochMillis,
}

pub(crate) fn write(secret: &Secret, progress: Progress, list: &str, now: EpochMillis) -> Result<String, Problem> {
    let expires = EpochMillis(now.0.saturating_add(LIFE_MILLIS));
    let payload = Payload { progress, list: list.to_owned(), expires };
    let payload = serde_json::to_vec(&payload).map_err(|_| Problem::internal())?;
    let signature = sign(secret, &payload);
    Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(signature)))
}

/// 400 with the reason.
pub(crate) fn read(secret: &Secret, cursor: &str, list: &str, now: EpochMillis) -> Result<Progress, Problem> {
    let unknown = || Problem::bad_request("cursor: not one that this server gave");
    if cursor.len() > MAX_CHARS {
        return Err(unknown());
    }
    let (payload, signature) = cursor.split_once('.').ok_or_else(unknown)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| unknown())?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| unknown())?;
    if !bool::from(sign(secret, &payload).as_slice().ct_eq(&signature)) {
        return Err(unknown());
    }
    let payload: Payload = serde_json::from_slice(&payload).map_err(|_| unknown())?;
    if payload.expires < now {
        return Err(Problem::bad_request("cursor: expired after 24 hours; start again without one"));
    }
    if payload.list != list {
        return Err(Problem::bad_request(
            "cursor: given for a list with other parameters; repeat them, only pageSize and variables may change",
        ));
    }
    Ok(payload.progress)
}

fn sign(secret: &Secret, payload: &[u8]) -> [u8; 32] {
    secret.sign(&[PURPOSE, payload].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::WalPosition;
    use crate::query::search::place::Place;

    #[test]
    fn only_an_own_fresh_cursor_of_the_same_list_is_taken() {
        let (secret, now) = (Secret::of([1; 32]), EpochMillis(1_000));
        let place = Place { time: Some(EpochMillis(7)), id: "i".to_owned(), project: "p".to_owned() };
        let progress = Progress { began: WalPosition(3), again: false, place: Some(place) };
        let cursor = write(&secret, progress.clone(), "list", now).unwrap();
        assert_eq!(read(&secret, &cursor, "list", now).unwrap(), progress);
        let late = EpochMillis(now.0 + LIFE_MILLIS + 1);
        let (start, end) = cursor.split_at(cursor.len() / 2);
        let changed = format!("{start}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..]);
        for (secret, cursor, list, now) in [
            (Secret::of([1; 32]), cursor.as_str(), "list", late),
            (Secret::of([2; 32]), cursor.as_str(), "list", now),
            (Secret::of([1; 32]), cursor.as_str(), "other", now),
            (Secret::of([1; 32]), changed.as_str(), "list", now),
            (Secret::of([1; 32]), "", "list", now),
            (Secret::of([1; 32]), ".", "list", now),
            (Secret::of([1; 32]), &cursor[..cursor.len() - 1], "list", now),
        ] {
            assert_eq!(read(&secret, cursor, list, now).err().unwrap().status().as_u16(), 400, "{cursor} {list}");
        }
    }
}
