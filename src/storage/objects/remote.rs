//! Object stores by URL: Amazon S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage. The URL names the
//! bucket and a prefix; credentials, endpoints and time-outs come from the environment variables that other programs
//! take too (`AWS_…`, `GOOGLE_…`, `AZURE_…`), never from the URL, which stands in logs.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientConfigKey;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Error, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

/// Tries of one request, with jitter between them. What is written under a number is tried again by whoever writes it,
/// and its clients are told within seconds, so the client below must give up before them. One try takes at most 30 s, 5 of
/// them to connect: the client's own values, which `AWS_TIMEOUT` and `AWS_CONNECT_TIMEOUT` change.
const RETRIES: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_secs(2), base: 2.0 },
    max_retries: 5,
    retry_timeout: Duration::from_secs(10),
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error(
        "a store's URL holds no credentials and no settings; give them as environment variables, such as AWS_ACCESS_KEY_ID"
    )]
    NotOnlyAPlace,
    #[error("the bucket or container is missing in the URL; such as s3://bucket/folder is needed")]
    NoBucket,
    #[error("it is no object store: s3://, gs:// or az:// is needed; another endpoint is named by AWS_ENDPOINT")]
    NoStore,
    #[error("{variable} is an http:// address: set {allow}=true if everything may go over the network unencrypted")]
    PlainHttp { variable: &'static str, allow: &'static str },
    #[error("the path is not valid: {0}")]
    Path(#[from] object_store::path::Error),
    #[error("{0}")]
    Settings(#[from] Error),
}

/// Nothing is asked of the store yet.
pub(super) fn open(url: &Url) -> Result<Arc<dyn ObjectStore>, RemoteError> {
    // In `az://container@account…` the container stands where others have a user.
    let user = if is_azure(url) { "" } else { url.username() };
    if !user.is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(RemoteError::NotOnlyAPlace);
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(RemoteError::NoBucket);
    }
    let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|_| RemoteError::NoStore)?;
    match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let builder = amazon(AmazonS3Builder::from_env().with_url(url.as_str()))?;
            Ok(Arc::new(PrefixStore::new(builder.build()?, prefix)))
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(RETRIES);
            Ok(Arc::new(PrefixStore::new(builder.build()?, prefix)))
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = azure(MicrosoftAzureBuilder::from_env().with_url(url.as_str()))?;
            Ok(Arc::new(PrefixStore::new(builder.build()?, prefix)))
        }
        _ => Err(RemoteError::NoStore),
    }
}

/// The URL without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only where there is nothing to hide.
    let _ = url.set_password(None);
    if !is_azure(&url) {
        let _ = url.set_username("");
    }
    url.to_string()
}

fn is_azure(url: &Url) -> bool {
    matches!(url.scheme(), "az" | "azure" | "adl" | "abfs" | "abfss")
}

pub(super) fn amazon(builder: AmazonS3Builder) -> Result<AmazonS3Builder, RemoteError> {
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint);
    let endpoint = endpoint.or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    let allowed = builder.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    check_http(endpoint, allowed, "AWS_ENDPOINT", "AWS_ALLOW_HTTP")?;
    Ok(builder.with_retry(RETRIES).with_conditional_put(S3ConditionalPut::ETagMatch))
}

pub(super) fn azure(builder: MicrosoftAzureBuilder) -> Result<MicrosoftAzureBuilder, RemoteError> {
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let allowed = builder.get_config_value(&AzureConfigKey::Client(ClientConfigKey::AllowHttp));
    check_http(endpoint, allowed, "AZURE_ENDPOINT", "AZURE_ALLOW_HTTP")?;
    Ok(builder.with_retry(RETRIES))
}

/// The client's own error would be "builder error".
fn check_http(
    endpoint: Option<String>,
    allowed: Option<String>,
    variable: &'static str,
    allow: &'static str,
) -> Result<(), RemoteError> {
    let plain = endpoint.is_some_and(|endpoint| endpoint.trim_start().starts_with("http://"));
    let allowed = allowed.is_some_and(|allowed| !["", "0", "false", "off", "no", "n"].contains(&allowed.as_str()));
    if plain && !allowed { Err(RemoteError::PlainHttp { variable, allow }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str) -> String {
        open(&Url::parse(url).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_a_place_and_nothing_else() {
        for url in ["s3://key:secret@bucket/a", "s3://bucket/a?endpoint=x", "gs://token@bucket", "s3://bucket#x"] {
            assert!(error(url).contains("no credentials"), "{url}: {}", error(url));
        }
        for url in ["http://bucket/a", "https://example.com/a"] {
            assert!(error(url).contains("no object store"), "{url}: {}", error(url));
        }
        assert!(error("s3:///a").contains("bucket"));
        let shown = |url: &str| super::shown(&Url::parse(url).unwrap());
        assert_eq!(shown("s3://key:secret@bucket/a?b=secret#secret"), "s3://bucket/a");
        assert_eq!(
            shown("abfss://box:secret@account.dfs.core.windows.net/a"),
            "abfss://box@account.dfs.core.windows.net/a"
        );
    }

    #[test]
    fn plain_http_is_said_to_be_allowed_first() {
        let builder = || AmazonS3Builder::new().with_bucket_name("b").with_endpoint("http://127.0.0.1:1");
        let refused = amazon(builder()).unwrap_err().to_string();
        assert!(refused.contains("AWS_ALLOW_HTTP"), "{refused}");
        let allowed = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        amazon(builder().with_config(allowed, "true")).unwrap().build().unwrap();
    }

    #[test]
    fn one_try_of_a_request_ends() {
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        let given = |builder: AmazonS3Builder| amazon(builder).unwrap().get_config_value(&timeout);
        assert_eq!(given(AmazonS3Builder::new()).as_deref(), Some("30s"));
        let longer = AmazonS3Builder::new().with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), "2 m");
        assert_eq!(given(longer).as_deref(), Some("2 m"));
    }
}
