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
  description = "The exporter's --collector: auto, live or report."
  type        = string
  default     = "auto"

  validation {
    condition     = contains(["auto", "live", "report"], var.collector)
    error_message = "collector must be auto, live or report."
  }
}

variable "collect_last_used" {
  description = "Whether the exporter runs with --collect.last-used."
  type        = bool
  default     = false
}

variable "collect_tags" {
  description = "Whether the exporter runs with --collect.tags."
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
  description = "EKS Pod Identity: the ARN of the cluster. Give this or irsa."
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
  description = "IAM roles for service accounts: the ARN of the cluster's IAM OIDC provider, and the token's audience (in China sts.amazonaws.com.cn). Give this or pod_identity."
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
