//! A secret of the store's own, made once: it signs what clients carry about, such as list cursors.

use hmac::{Hmac, Mac};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::environment::Environment;
use crate::storage::error::StoreError;
use crate::storage::objects::frame::{self, FrameError, Kind, Unsound};

/// Among the keys, because it must be as secret; no key's name looks like it.
const PATH: [&str; 2] = ["keys", "cursor.secret"];
const KIND: Kind = Kind { name: "secret", format: 1, reads: 1..=1 };
const SECRET_BYTES: usize = 32;
/// Of SHA-256: a key that is padded to it needs no check of its length.
const BLOCK_BYTES: usize = 64;

pub(crate) struct Secret([u8; SECRET_BYTES]);

#[derive(Serialize, Deserialize)]
struct Stored {
    /// Hex digits.
    secret: String,
}

impl Secret {
    /// The stored one; the first server of a store makes it, and one that finds it damaged makes another. One that cannot
    /// be stored now holds for this process: cursors that it signs end with it.
    pub(crate) async fn open(environment: &Environment) -> Result<Secret, StoreError> {
        let (path, objects) = (Path::from_iter(PATH), environment.objects.as_ref());
        let made: [u8; SECRET_BYTES] = environment.random();
        let mut unwritable = None;
        match put(objects, &path, &made, PutMode::Create).await? {
            Ok(()) => return Ok(Secret(made)),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => unwritable = Some(error),
        }
        let failed = |error| StoreError::caused(format!("{path} could not be read"), error);
        let stored = match (objects.get(&path).await, unwritable) {
            (Err(object_store::Error::NotFound { .. }), Some(error)) => {
                tracing::warn!(%error, "{path} could not be written; cursors of lists end with this process");
                return Ok(Secret(made));
            }
            (stored, _) => stored.map_err(failed)?.bytes().await.map_err(failed)?,
        };
        match decode(&stored) {
            Ok(secret) => return Ok(Secret(secret)),
            Err(FrameError::Damaged(reason)) => {
                tracing::error!("{path} is damaged: {reason}; another is made, cursors of lists of before end");
            }
            Err(error) => return Err(StoreError::caused("a secret of the store", Unsound { object: path, error })),
        }
        if let Err(error) = put(objects, &path, &made, PutMode::Overwrite).await? {
            tracing::warn!(%error, "{path} could not be written; cursors of lists end with this process");
        }
        Ok(Secret(made))
    }

    #[cfg(test)]
    pub(crate) fn of(bytes: [u8; SECRET_BYTES]) -> Secret {
        Secret(bytes)
    }

    /// HMAC-SHA256.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 32] {
        let mut block = [0; BLOCK_BYTES];
        block.iter_mut().zip(self.0).for_each(|(padded, byte)| *padded = byte);
        let mac = Hmac::<Sha256>::new(&block.into()).chain_update(message);
        mac.finalize().into_bytes().into()
    }
}

/// The outer error is this program's, the inner one the store's.
async fn put(
    objects: &dyn ObjectStore,
    path: &Path,
    secret: &[u8; SECRET_BYTES],
    mode: PutMode,
) -> Result<Result<(), object_store::Error>, StoreError> {
    let encoded = frame::encode(&KIND, &Stored { secret: const_hex::encode(secret) });
    let (object, _) = encoded.map_err(|reason| StoreError::Bug(format!("{path}: {reason}")))?;
    Ok(objects.put_opts(path, object.into(), mode.into()).await.map(|_| ()))
}

fn decode(object: &[u8]) -> Result<[u8; SECRET_BYTES], FrameError> {
    let (stored, _) = frame::decode::<Stored>(&KIND, object)?;
    const_hex::decode_to_array(&stored.secret).map_err(|error| FrameError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use object_store::memory::InMemory;

    #[test]
    fn signs_like_rfc_4231() {
        // Zeros behind a short key change nothing (RFC 2104).
        let signed = |key: &[u8], message: &[u8]| {
            let mut secret = [0; SECRET_BYTES];
            secret[..key.len()].copy_from_slice(key);
            const_hex::encode(Secret::of(secret).sign(message))
        };
        assert_eq!(
            signed(&[0x0b; 20], b"Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            signed(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[tokio::test]
    async fn is_made_once() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let first = Secret::open(&environment).await.unwrap().sign(b"x");
        assert_eq!(Secret::open(&environment).await.unwrap().sign(b"x"), first);
        let other = Environment::of_test(Arc::new(InMemory::new()));
        assert_ne!(Secret::open(&other).await.unwrap().sign(b"x"), first);
    }

    #[tokio::test]
    async fn a_damaged_one_is_made_again() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let (path, objects) = (Path::from_iter(PATH), &environment.objects);
        let first = Secret::open(&environment).await.unwrap().sign(b"x");
        let sound = objects.get(&path).await.unwrap().bytes().await.unwrap();
        let mut flipped = sound.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [flipped, sound[..40].to_vec(), vec![7; SECRET_BYTES]] {
            objects.put(&path, damaged.into()).await.unwrap();
            let again = Secret::open(&environment).await.unwrap().sign(b"x");
            assert_ne!(again, first);
            assert_eq!(Secret::open(&environment).await.unwrap().sign(b"x"), again);
        }
        let newer = Kind { format: 2, ..KIND };
        let (newer, _) = frame::encode(&newer, &Stored { secret: String::new() }).unwrap();
        objects.put(&path, newer.clone().into()).await.unwrap();
        assert_eq!(Secret::open(&environment).await.err().unwrap().object(), Some(&path));
        assert_eq!(objects.get(&path).await.unwrap().bytes().await.unwrap(), newer);
    }
}
