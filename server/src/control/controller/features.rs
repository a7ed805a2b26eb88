//! UpdateFeatures (key 57).

use kringle_protocol::ErrorCode;
use kringle_protocol::messages::FeatureLevelRecord;
use kringle_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kringle_protocol::metadata_record::MetadataRecord;
use kringle_protocol::update_features_request::FeatureUpdateKey;
use kringle_protocol::update_features_response::UpdatableFeatureResult;

use super::{Context, Decision, Refusal};
use crate::control::features::{KRAFT_VERSION, METADATA_VERSION, SUPPORTED};

/// FeatureUpdate.UpgradeType.
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Decides on UpdateFeatures: all of the updates or none.
pub fn update_features(
    context: &Context<'_>,
    request: &UpdateFeaturesRequest,
    version: i16,
) -> Decision<UpdateFeaturesResponse> {
    let mut records = Vec::new();
    let mut results = Vec::new();
    for update in &request.feature_updates {
        match update_feature(context, update, version) {
            Ok(record) => records.extend(record),
            Err(refusal) => return Decision { records: Vec::new(), response: refused(refusal) },
        }
        let error_message = Some(ErrorCode::NONE.name().to_owned());
        results.push(UpdatableFeatureResult { feature: update.feature.clone(), error_message, ..Default::default() });
    }
    if request.validate_only {
        records.clear();
    }
    // From version 2 on, success is said once.
    if version >= 2 {
        results.clear();
    }
    Decision { records, response: UpdateFeaturesResponse { error_message: None, results, ..Default::default() } }
}

/// In every version the whole request fails by its first bad update.
fn refused(refusal: Refusal) -> UpdateFeaturesResponse {
    let reason = refusal.message.unwrap_or_default();
    let message = format!("The update failed for all features since the following feature had an error: {reason}");
    UpdateFeaturesResponse { error_code: refusal.code.into(), error_message: Some(message), ..Default::default() }
}

fn update_feature(
    context: &Context<'_>,
    update: &FeatureUpdateKey,
    version: i16,
) -> Result<Option<MetadataRecord>, Refusal> {
    let (name, level) = (&update.feature, update.max_version_level);
    let invalid = |reason: String| {
        let message = format!("Invalid update version {level} for feature {name}. {reason}");
        Err(Refusal::new(ErrorCode::INVALID_UPDATE_VERSION, message))
    };
    // Version 0 only said whether a downgrade is allowed.
    let upgrade_type = match (version, update.allow_downgrade) {
        (0, true) => SAFE_DOWNGRADE,
        (0, false) => UPGRADE,
        _ => update.upgrade_type,
    };
    if !matches!(upgrade_type, UPGRADE | SAFE_DOWNGRADE | UNSAFE_DOWNGRADE) {
        return invalid("The controller does not support the given upgrade type.".to_owned());
    }
    if level < 0 {
        return invalid("A feature version cannot be less than 0.".to_owned());
    }
    let local = format!("Local controller {}", context.config.node_id);
    let current = if name == KRAFT_VERSION { context.image.kraft_version() } else { context.image.feature(name) };
    match SUPPORTED.iter().find(|feature| feature.name == name) {
        // What Kafka finalized and Kringle does not serve may be turned off.
        None if level > 0 => return invalid(format!("{local} does not support this feature.")),
        Some(feature) if !(feature.min..=feature.max).contains(&level) => {
            return invalid(format!("{local} only supports versions {}-{}", feature.min, feature.max));
        }
        _ => {}
    }
    if level < current && upgrade_type == UPGRADE {
        let reason = "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                      unsafe downgrade.";
        return invalid(reason.to_owned());
    }
    if level > current && upgrade_type != UPGRADE {
        return invalid("Can't downgrade to a newer version.".to_owned());
    }
    if name == METADATA_VERSION && level < current {
        let reason = if upgrade_type == UNSAFE_DOWNGRADE {
            "Unsafe metadata downgrade is not supported in this version."
        } else {
            "Refusing to perform the requested downgrade because it might delete metadata information."
        };
        let message = format!("Unsupported metadata.version downgrade from {current} to {level}. {reason}");
        return Err(Refusal::new(ErrorCode::INVALID_UPDATE_VERSION, message));
    }
    if name == KRAFT_VERSION {
        return if level == current {
            Ok(None)
        } else {
            invalid("The voters of a single node are kept where they were when the directory was formatted.".to_owned())
        };
    }
    let record = FeatureLevelRecord { name: name.clone(), feature_level: level };
    Ok(Some(MetadataRecord::FeatureLevelRecord(record)))
}
