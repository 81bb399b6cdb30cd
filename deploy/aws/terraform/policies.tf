# The policy documents. They are computed without the AWS provider, so that they can be tested without it.

locals {
  # Inline policies of the role, by name: the files of ../policies.
  policies = {
    for name, wanted in {
      (var.collector) = true
      "last-used"     = var.collect_last_used
      "tags"          = var.collect_tags
    } : name => file("${path.module}/../policies/${name}.json") if wanted
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

  # jsonencode on each side: the two statements have different types, which a conditional does not allow.
  trust = var.irsa != null ? jsonencode({
    Version   = "2012-10-17"
    Statement = [merge(local.service_account_statement, local.irsa_statement)]
    }) : jsonencode({
    Version   = "2012-10-17"
    Statement = [merge(local.service_account_statement, local.pod_identity_statement)]
  })
}

output "assume_role_policy" {
  description = "The role's trust policy (JSON)."
  value       = local.trust

  # A precondition instead of a validation: before Terraform 1.9 a variable's validation cannot refer to another variable.
  precondition {
    condition     = (var.pod_identity == null) != (var.irsa == null)
    error_message = "Give pod_identity or irsa, and not both."
  }
}

output "policies" {
  description = "The role's inline policies (JSON), by name."
  value       = local.policies
}
