//! Whose rows may be read.

use super::ids::{OrganizationId, ProjectId};

/// What a key reads of the store. Only the scan applies it (`query::scan`), so that no query can forget it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) organization_id: OrganizationId,
    /// `None`: every project of the organization.
    pub(crate) project_id: Option<ProjectId>,
}
