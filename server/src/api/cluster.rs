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

/// DescribeCluster asks for brokers or for controllers.
const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

/// Describes the only broker.
pub(crate) async fn describe_cluster(context: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let node = &context.shard.node;
    let failed = |error: ErrorCode, message: &str| DescribeClusterResponse {
        error_code: error.into(),
        error_message: Some(message.to_owned()),
        ..DescribeClusterResponse::default()
    };
    match request.endpoint_type {
        ENDPOINT_BROKERS => {}
        ENDPOINT_CONTROLLERS => {
            return failed(
                ErrorCode::MISMATCHED_ENDPOINT_TYPE,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
            );
        }
        other => {
            let message = format!("Unsupported endpoint type {other}");
            return failed(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, &message);
        }
    }
    let (host, port) = node.advertised(context.connection.listener);
    let me = DescribeClusterBroker {
        broker_id: node.node_id,
        host,
        port,
        rack: node.config.rack.clone(),
        ..DescribeClusterBroker::default()
    };
    DescribeClusterResponse {
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
