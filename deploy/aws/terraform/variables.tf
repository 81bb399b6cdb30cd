variable "name" {
  description = "Name of the role."
  type        = string
  default     = "iam-key-exporter"

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.name))
    error_message = "name must have 1 to 64 of the characters A-Z, a-z, 0-9, +=,.@_-."
  }
}

variable "collector" {
  description = "The exporter's --collector: auto, live or report. none: the role reads no users itself, it only assumes the roles of accounts."
  type        = string
  default     = "auto"

  validation {
    condition     = contains(["auto", "live", "report", "none"], var.collector)
    error_message = "collector must be auto, live, report or none."
  }
}

variable "collect_last_used" {
  description = "Whether the exporter runs with --collect.last-used."
  type        = bool
  default     = false
}

variable "collect_tags" {
  description = "Whether the exporter reads tags or groups (--collect.tags, --collect.owner-tag, exemptions by tag or group)."
  type        = bool
  default     = false
}

variable "member_role_name" {
  description = "Many accounts: name of the role that the exporter assumes in each of them, with its path: security/iam-key-exporter."
  type        = string
  default     = null

  validation {
    condition     = var.member_role_name == null || can(regex("^([A-Za-z0-9+=,.@_-]+/)*[A-Za-z0-9+=,.@_-]{1,64}$", var.member_role_name))
    error_message = "member_role_name must be the name of a role, with its path but without a slash at the beginning, and without wildcards."
  }
}

variable "organization_id" {
  description = "Many accounts: if given, only roles in accounts of this organization can be assumed."
  type        = string
  default     = null

  validation {
    condition     = var.organization_id == null || can(regex("^o-[a-z0-9]{10,32}$", var.organization_id))
    error_message = "organization_id must be the ID of an organization, o- and 10 to 32 characters."
  }
}

variable "discovery" {
  description = "Many accounts: whether this role lists the accounts of the organization."
  type        = bool
  default     = false
}

variable "namespace" {
  description = "Kubernetes namespace of the exporter."
  type        = string
  default     = "monitoring"

  validation {
    condition     = can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "namespace must be the name of a Kubernetes namespace, without wildcards."
  }
}

variable "service_account" {
  description = "Kubernetes service account of the exporter."
  type        = string
  default     = "iam-key-exporter"

  validation {
    condition     = can(regex("^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$", var.service_account))
    error_message = "service_account must be the name of a Kubernetes service account, without wildcards."
  }
}

variable "pod_identity" {
  description = "EKS Pod Identity: the ARN of the cluster. Give this, irsa or ec2."
  type = object({
    cluster_arn = string
  })
  default = null

  validation {
    condition     = var.pod_identity == null || can(regex("^arn:[a-z-]+:eks:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9_-]+$", var.pod_identity.cluster_arn))
    error_message = "pod_identity.cluster_arn must be the ARN of an EKS cluster."
  }
}

variable "irsa" {
  description = "IAM roles for service accounts: the ARN of the cluster's IAM OIDC provider, and the token's audience (in China sts.amazonaws.com.cn). Give this, pod_identity or ec2."
  type = object({
    oidc_provider_arn = string
    audience          = optional(string, "sts.amazonaws.com")
  })
  default = null

  validation {
    condition     = var.irsa == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.irsa.oidc_provider_arn))
    error_message = "irsa.oidc_provider_arn must be the ARN of an IAM OIDC provider."
  }
}

variable "ec2" {
  description = "EC2 instances: an instance profile of the role's name is created. Give this, pod_identity or irsa."
  type        = bool
  default     = false
}

variable "permissions_boundary" {
  description = "ARN of a permissions boundary, if your account requires one."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the role."
  type        = map(string)
  default     = {}
}
