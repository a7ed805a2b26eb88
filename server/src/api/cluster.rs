//! DescribeCluster (60), DescribeQuorum (55), UpdateFeatures (57) and ListPartitionReassignments (46) on one node.

use kringle_protocol::ErrorCode;
use kringle_protocol::describe_cluster_response::DescribeClusterBroker;
use kringle_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
};

use super::Context;
use super::metadata::CLUSTER_OPERATIONS;

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
    ListPartitionReassignmentsResponse::default()
}
