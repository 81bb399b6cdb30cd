# The policy documents. They are computed without the AWS provider, so that they can be tested without it.

locals {
  # Inline policies of the role, by name: the files of ../../policies.
  policies = {
    for name, wanted in {
      (var.collector) = true
      "last-used"     = var.collect_last_used
      "tags"          = var.collect_tags
      "discovery"     = var.discovery
    } : name => file("${path.module}/../../policies/${name}.json") if wanted
  }

  hub = split(":", var.hub_role_arn)

  # The account with a condition on the role, not the role itself: the hub role need not exist yet, and may be recreated.
  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AssumeFromHubRole"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.hub[1]}:iam::${local.hub[4]}:root" }
      Action    = "sts:AssumeRole"
      Condition = {
        ArnEquals = { "aws:PrincipalArn" = var.hub_role_arn }
        StringEquals = merge(
          var.organization_id == null ? {} : { "aws:PrincipalOrgID" = var.organization_id },
          var.external_id == null ? {} : { "sts:ExternalId" = var.external_id },
        )
      }
    }]
  })
}

output "assume_role_policy" {
  description = "The role's trust policy (JSON)."
  value       = local.trust

  # A precondition instead of a validation: before Terraform 1.9 a variable's validation cannot refer to another variable.
  precondition {
    condition     = var.organization_id != null || var.external_id != null
    error_message = "Give organization_id or external_id."
  }
}

output "policies" {
  description = "The role's inline policies (JSON), by name."
  value       = local.policies
}
