# The policy documents. They are computed without the AWS provider, so that they can be tested without it.

locals {
  # Inline policies of the role, by name: the files of ../policies.
  policies = merge({
    for name, wanted in {
      (var.collector) = var.collector != "none"
      "last-used"     = var.collect_last_used
      "tags"          = var.collect_tags
      "discovery"     = var.discovery
    } : name => file("${path.module}/../policies/${name}.json") if wanted
    }, var.member_role_name == null ? {} : {
    "assume" = jsonencode(local.assume)
  })

  # ../policies/assume.json, with the name of the roles.
  assume = {
    Version = "2012-10-17"
    Statement = [merge({
      Sid      = "AssumeMemberRoles"
      Effect   = "Allow"
      Action   = ["sts:AssumeRole"]
      Resource = "arn:*:iam::*:role/${coalesce(var.member_role_name, "none")}"
      }, var.organization_id == null ? {} : {
      Condition = { StringEquals = { "aws:ResourceOrgID" = var.organization_id } }
    })]
  }

  service_account_statement = {
    Sid    = "AssumeFromServiceAccount"
    Effect = "Allow"
  }

  pod_identity_statement = var.pod_identity == null ? null : {
    Principal = { Service = "pods.eks.amazonaws.com" }
    Action    = ["sts:AssumeRole", "sts:TagSession"]
    Condition = {
      StringEquals = {
        "aws:RequestTag/eks-cluster-arn"            = var.pod_identity.cluster_arn
        "aws:RequestTag/kubernetes-namespace"       = var.namespace
        "aws:RequestTag/kubernetes-service-account" = var.service_account
      }
    }
  }

  oidc_provider = var.irsa == null ? null : split(":oidc-provider/", var.irsa.oidc_provider_arn)[1]

  irsa_statement = var.irsa == null ? null : {
    Principal = { Federated = var.irsa.oidc_provider_arn }
    Action    = "sts:AssumeRoleWithWebIdentity"
    Condition = {
      StringEquals = {
        "${local.oidc_provider}:aud" = var.irsa.audience
        "${local.oidc_provider}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
      }
    }
  }

  # jsonencode on each side: the statements have different types, which a conditional does not allow.
  trust = var.irsa != null ? jsonencode({
    Version   = "2012-10-17"
    Statement = [merge(local.service_account_statement, local.irsa_statement)]
    }) : var.ec2 ? file("${path.module}/../trust/ec2.json") : jsonencode({
    Version   = "2012-10-17"
    Statement = [merge(local.service_account_statement, local.pod_identity_statement)]
  })
}

output "assume_role_policy" {
  description = "The role's trust policy (JSON)."
  value       = local.trust

  # A precondition instead of a validation: before Terraform 1.9 a variable's validation cannot refer to another variable.
  precondition {
    condition     = length([for given in [var.pod_identity != null, var.irsa != null, var.ec2] : given if given]) == 1
    error_message = "Give one of pod_identity, irsa and ec2."
  }

  precondition {
    condition     = var.member_role_name != var.name
    error_message = "member_role_name is name, but this account also needs a member role; give name = \"iam-key-exporter-hub\"."
  }
}

output "policies" {
  description = "The role's inline policies (JSON), by name."
  value       = local.policies
}
