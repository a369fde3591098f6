//! Whose rows may be read.

use super::ids::{OrganizationId, ProjectId};
use crate::shares::Taker;

/// What a key reads of the store. Only the scan applies it (`query::scan`), so that no query can forget it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) organization_id: OrganizationId,
    /// `None`: every project of the organization.
    pub(crate) project_id: Option<ProjectId>,
    /// Whose turn a question takes. It sees no more and no less by it.
    pub(crate) asker: Taker,
}
