//! A secret of the store's own, made once: it signs what clients carry about, such as list cursors.

use hmac::{Hmac, Mac};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sha2::Sha256;

use crate::environment::Environment;
use crate::storage::error::StoreError;

/// Among the keys, because it must be as secret; no key's name looks like it.
const PATH: [&str; 2] = ["keys", "cursor.secret"];
const SECRET_BYTES: usize = 32;
/// Of SHA-256: a key that is padded to it needs no check of its length.
const BLOCK_BYTES: usize = 64;

pub(crate) struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// The stored one; the first server of a store makes it. One that cannot be stored now holds for this process:
    /// cursors that it signs end with it.
    pub(crate) async fn open(environment: &Environment) -> Result<Secret, StoreError> {
        let (path, objects) = (Path::from_iter(PATH), &environment.objects);
        let made: [u8; SECRET_BYTES] = environment.random();
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        let mut unwritable = None;
        match objects.put_opts(&path, PutPayload::from(made.to_vec()), options).await {
            Ok(_) => return Ok(Secret(made)),
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
        let stored: [u8; SECRET_BYTES] = stored.as_ref().try_into().map_err(|_| {
            StoreError::Damaged(format!("{path} has {} bytes, {SECRET_BYTES} are needed; delete it", stored.len()))
        })?;
        Ok(Secret(stored))
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
}
