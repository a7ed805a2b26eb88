//! DescribeCluster (60), ElectLeaders (43), AlterPartitionReassignments (45) and ListPartitionReassignments (46) on one
//! node: answered from the image, since nothing can change.

use kringle_protocol::ErrorCode;
use kringle_protocol::describe_cluster_response::DescribeClusterBroker;
use kringle_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, DescribeClusterRequest,
    DescribeClusterResponse, ElectLeadersRequest, ElectLeadersResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
};

use super::Context;
use super::admin::is_late;
use super::metadata::CLUSTER_OPERATIONS;
use crate::control::controller::{Refusal, elections};
use crate::node::ListenerId;

/// What DescribeCluster asks for: brokers or controllers.
const ENDPOINT_BROKER: i8 = 1;
const ENDPOINT_CONTROLLER: i8 = 2;

/// From this version on a request says what it asks for, and is told when that is wrong.
const ENDPOINT_TYPE_FROM_VERSION: i16 = 1;

/// Describes the only node, which is broker or controller by the listener that was asked.
pub(crate) async fn describe_cluster(context: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let node = &context.shard.node;
    let listener = context.connection.listener;
    let own_type = match listener {
        ListenerId::Broker(_) => ENDPOINT_BROKER,
        ListenerId::Controller(_) => ENDPOINT_CONTROLLER,
    };
    if request.endpoint_type != own_type {
        return wrong_endpoint(own_type, request.endpoint_type, context.version);
    }
    let (host, port) = node.advertised(listener);
    // Kafka tells the rack of brokers only.
    let rack = node.config.rack.clone().filter(|_| own_type == ENDPOINT_BROKER);
    let me = DescribeClusterBroker { broker_id: node.node_id, host, port, rack, ..DescribeClusterBroker::default() };
    DescribeClusterResponse {
        endpoint_type: own_type,
        cluster_id: node.cluster_id.clone(),
        controller_id: node.node_id,
        brokers: vec![me],
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..DescribeClusterResponse::default()
    }
}

fn wrong_endpoint(own_type: i8, wanted: i8, version: i16) -> DescribeClusterResponse {
    let name = |endpoint_type| match endpoint_type {
        ENDPOINT_BROKER => Some("BROKER"),
        ENDPOINT_CONTROLLER => Some("CONTROLLER"),
        _ => None,
    };
    let (error, message) = match name(wanted).zip(name(own_type)) {
        Some((wanted, own)) => (
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            format!("The request was sent to an endpoint of type {own}, but we wanted an endpoint of type {wanted}"),
        ),
        None => (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, format!("Unsupported endpoint type {wanted}")),
    };
    let error = if version < ENDPOINT_TYPE_FROM_VERSION { ErrorCode::INVALID_REQUEST } else { error };
    DescribeClusterResponse {
        error_code: error.into(),
        error_message: Some(message),
        ..DescribeClusterResponse::default()
    }
}

/// One replica moves nowhere: none is ever under way.
pub(crate) async fn list_reassignments(
    _context: Context,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse { error_message: None, ..ListPartitionReassignmentsResponse::default() }
}

/// The only replica leads already, or cannot.
pub(crate) async fn elect_leaders(context: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if is_late(request.timeout_ms) {
        let late = elections::elect_none(&request, Refusal::bare(ErrorCode::REQUEST_TIMED_OUT));
        // Version 0 has no error of the whole.
        return ElectLeadersResponse { error_code: if context.version == 0 { 0 } else { late.error_code }, ..late };
    }
    elections::elect_leaders(&context.shard.image(), &request)
}

/// A replica may be sent where it is.
pub(crate) async fn alter_reassignments(
    context: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    if is_late(request.timeout_ms) {
        return elections::reassign_none(&request, ErrorCode::REQUEST_TIMED_OUT);
    }
    elections::alter_reassignments(&context.shard.image(), &request)
}
