//! What tells a stored row.

use crate::model::ids::{OrganizationId, ProjectId};

/// By what a row is found.
#[derive(Clone, Debug)]
pub(crate) struct StoredKey {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    pub(crate) id: String,
    pub(crate) external_id: Option<String>,
}

impl StoredKey {
    pub(super) fn blank() -> Self {
        let (organization_id, project_id) = (OrganizationId::new(""), ProjectId::new(""));
        StoredKey { organization_id, project_id, id: String::new(), external_id: None }
    }
}
