//! What the store above relies on, of every object store that it can lie in: `object_store`'s own suite, and ours. The
//! stores of others run on this machine where `.ci/run` has installed them.

use std::sync::Arc;

use futures::TryStreamExt;
use hmac::{Hmac, Mac};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::integration;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use sha2::Sha256;
use uuid::Uuid;

use self::services::{ACCESS_KEY, BUCKET, SECRET_KEY, Service};
use super::durable::DurableLocalStore;
use super::probe;
use super::remote::{amazon, azure};
use crate::environment::Ids;

#[expect(unreachable_pub, reason = "the integration tests have it too")]
#[path = "../../../tests/support/services.rs"]
mod services;

/// S3 takes no smaller parts but the last one.
const PART_BYTES: usize = 5 << 20;
const CREATORS: usize = 32;
const RACES: usize = 5;

async fn names(store: &dyn ObjectStore, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(Path::from);
    let listed = store.list(prefix.as_ref()).map_ok(|object| object.location.to_string());
    let mut names: Vec<String> = listed.try_collect().await.unwrap();
    names.sort();
    names
}

async fn text(store: &dyn ObjectStore, path: &Path) -> String {
    let bytes = store.get(path).await.unwrap().bytes().await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the write path relies on. The store is empty before and after.
pub(super) async fn conforms(store: &dyn ObjectStore) {
    let path = Path::from("wal/00000000000000000001");
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
    store.put_opts(&path, "one".into(), PutMode::Create.into()).await.unwrap();
    let again = store.put_opts(&path, "two".into(), PutMode::Create.into()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(text(store, &path).await, "one");
    store.put(&path, "three and more".into()).await.unwrap();
    assert_eq!(text(store, &path).await, "three and more");
    assert_eq!(store.get_range(&path, 6..9).await.unwrap(), "and");
    assert_eq!(store.get_ranges(&path, &[0..5, 10..14]).await.unwrap(), ["three", "more"]);
    // What is cut is noticed: no bytes are made up.
    let beyond = store.get_ranges(&path, std::slice::from_ref(&(10..20))).await;
    assert!(beyond.is_err() || beyond.unwrap()[0].len() < 10);
    assert_eq!(store.head(&path).await.unwrap().size, 14);
    store.put(&Path::from("empty"), PutPayload::default()).await.unwrap();
    assert_eq!(store.head(&Path::from("empty")).await.unwrap().size, 0);

    let large = Path::from("deep/er/file.parquet");
    let mut upload = store.put_multipart(&large).await.unwrap();
    let bytes = [vec![b'a'; PART_BYTES], vec![b'b'; PART_BYTES], b"c".to_vec()];
    let parts: Vec<_> = bytes.iter().map(|part| upload.put_part(part.clone().into())).collect();
    assert!(matches!(store.head(&large).await, Err(Error::NotFound { .. })));
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    upload.complete().await.unwrap();
    let stored = store.get(&large).await.unwrap().bytes().await.unwrap();
    assert!(stored == bytes.concat(), "{} bytes", stored.len());
    let middle = PART_BYTES as u64;
    assert_eq!(store.get_range(&large, middle - 1..middle + 1).await.unwrap(), "ab");

    let mut aborted = store.put_multipart(&Path::from("deep/aborted")).await.unwrap();
    aborted.put_part("x".into()).await.unwrap();
    aborted.abort().await.unwrap();

    assert_eq!(names(store, None).await, ["deep/er/file.parquet", "empty", "wal/00000000000000000001"]);
    assert_eq!(names(store, Some("wal")).await, ["wal/00000000000000000001"]);
    // A prefix is whole parts of a name.
    assert_eq!(names(store, Some("wa")).await, Vec::<String>::new());
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(top.common_prefixes, [Path::from("deep"), Path::from("wal")]);
    assert_eq!(top.objects.iter().map(|object| object.location.as_ref()).collect::<Vec<_>>(), ["empty"]);

    for path in [path, large, Path::from("empty")] {
        store.delete(&path).await.unwrap();
    }
    assert_eq!(names(store, None).await, Vec::<String>::new());
}

/// Of those who create an object at the same time one does, each time.
async fn one_creator_wins(store: Arc<dyn ObjectStore>) {
    for race in 0..RACES {
        let path = Path::from(format!("races/{race}"));
        let creators: Vec<_> = (0..CREATORS)
            .map(|number| {
                let (store, path) = (Arc::clone(&store), path.clone());
                let body = format!("by {number}");
                tokio::spawn(async move {
                    let put = store.put_opts(&path, body.clone().into(), PutMode::Create.into()).await;
                    match put {
                        Ok(_) => Some(body),
                        Err(Error::AlreadyExists { .. }) => None,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        let won: Vec<String> =
            futures::future::join_all(creators).await.into_iter().filter_map(|won| won.unwrap()).collect();
        assert_eq!(won, [text(store.as_ref(), &path).await], "race {race}");
        store.delete(&path).await.unwrap();
    }
}

/// What a store cannot do of what `object_store`'s suite asks for; nothing here depends on it.
#[derive(Clone, Copy, PartialEq)]
enum Lacks {
    Nothing,
    /// Versions of what is put, and objects in parts that replace others.
    Versions,
    /// To list exactly what comes after a name.
    Offsets,
}

/// Both suites, each in a place of its own.
async fn both(store: impl ObjectStore + Clone, lacks: Lacks) {
    let place = |name: &str| PrefixStore::new(store.clone(), format!("{}/{name}", Uuid::new_v4()));
    conforms(&place("ours")).await;
    one_creator_wins(Arc::new(place("races"))).await;
    probe::creates_once(&place("probe"), "here", Uuid::from_u128(1)).await.unwrap();
    if lacks != Lacks::Offsets {
        integration::put_get_delete_list(&place("list")).await;
        integration::list_with_offset_exclusivity(&place("offset")).await;
    }
    if lacks != Lacks::Versions {
        integration::get_opts(&place("get")).await;
        integration::stream_get(&place("stream")).await;
    }
    integration::list_uses_directories_correctly(&place("folders")).await;
    integration::list_with_delimiter(&place("delimiter")).await;
    let missing = integration::get_nonexistent_object(&place("missing"), None).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    integration::rename_and_copy(&place("copy")).await;
    integration::multipart_out_of_order(&place("parts")).await;
}

#[tokio::test]
async fn the_stores_of_this_process_conform() {
    let folder = tempfile::tempdir().unwrap();
    let local: Arc<dyn ObjectStore> = Arc::new(DurableLocalStore::open(folder.path(), Ids::system()).unwrap());
    both(local, Lacks::Versions).await;
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    both(memory, Lacks::Nothing).await;
}

fn s3(service: &Service) -> Arc<dyn ObjectStore> {
    let builder = AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_endpoint(&service.endpoint)
        .with_allow_http(true)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY);
    Arc::new(amazon(builder).unwrap().build().unwrap())
}

/// For tests of what stands on it; nothing where the program is not there.
pub(crate) fn seaweedfs() -> Option<Arc<dyn ObjectStore>> {
    services::seaweedfs().map(s3)
}

#[tokio::test]
async fn seaweedfs_conforms() {
    let Some(service) = services::seaweedfs() else { return };
    // After a name it leaves out what lies in a folder of that name; the log's names are no folders.
    both(s3(service), Lacks::Offsets).await;
}

#[tokio::test]
async fn moto_conforms() {
    let Some(service) = services::moto() else { return };
    both(s3(service), Lacks::Nothing).await;
}

/// Of the emulators, public.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// `object_store` makes no containers.
fn make_container(service: &Service) {
    use base64::Engine;
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let version = "2023-11-03";
    // Method, eleven headers that are not sent, those of Azure, the resource.
    let signed = format!(
        "PUT{}x-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container",
        "\n".repeat(12)
    );
    let key = base64::engine::general_purpose::STANDARD.decode(ACCOUNT_KEY).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(signed).finalize().into_bytes();
    let mac = base64::engine::general_purpose::STANDARD.encode(mac);
    let made = ureq::put(format!("{}/{ACCOUNT}/{BUCKET}?restype=container", service.endpoint))
        .header("x-ms-date", date)
        .header("x-ms-version", version)
        .header("authorization", format!("SharedKey {ACCOUNT}:{mac}"))
        .send_empty();
    assert_eq!(made.unwrap().status(), 201);
}

#[tokio::test]
async fn azurite_conforms() {
    let Some(service) = services::azurite() else { return };
    make_container(service);
    let builder = MicrosoftAzureBuilder::new()
        .with_account(ACCOUNT)
        .with_access_key(ACCOUNT_KEY)
        .with_container_name(BUCKET)
        .with_endpoint(format!("{}/{ACCOUNT}", service.endpoint))
        .with_allow_http(true);
    let store: Arc<dyn ObjectStore> = Arc::new(azure(builder).unwrap().build().unwrap());
    // Azurite lists from the first name on, whatever name it is given to start from.
    both(store, Lacks::Offsets).await;
}
