variable "hub_role_arn" {
  description = "ARN of the role that the exporter runs with."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/([A-Za-z0-9+=,.@_-]+/)*[A-Za-z0-9+=,.@_-]{1,64}$", var.hub_role_arn))
    error_message = "hub_role_arn must be the ARN of an IAM role, without wildcards."
  }
}

variable "organization_id" {
  description = "If given, the hub role must be in an account of this organization. Give this or external_id, or both."
  type        = string
  default     = null

  validation {
    condition     = var.organization_id == null || can(regex("^o-[a-z0-9]{10,32}$", var.organization_id))
    error_message = "organization_id must be the ID of an organization, o- and 10 to 32 characters."
  }
}

variable "external_id" {
  description = "If given, the exporter must send this external ID. Give this or organization_id, or both."
  type        = string
  default     = null

  validation {
    condition     = var.external_id == null || (length(coalesce(var.external_id, "-")) >= 2 && length(coalesce(var.external_id, "-")) <= 1224 && can(regex("^[A-Za-z0-9_+=,.@:/-]+$", var.external_id)))
    error_message = "external_id must have 2 to 1224 of the characters A-Z, a-z, 0-9, _+=,.@:/-."
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
  description = "Whether the exporter reads tags or groups (--collect.tags, --collect.owner-tag, exemptions by tag or group)."
  type        = bool
  default     = false
}

variable "discovery" {
  description = "In the management account, whether this role also lists the accounts of the organization."
  type        = bool
  default     = false
}

variable "name" {
  description = "Name of the role, the same in every account."
  type        = string
  default     = "iam-key-exporter"

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.name))
    error_message = "name must have 1 to 64 of the characters A-Z, a-z, 0-9, +=,.@_-."
  }
}

variable "path" {
  description = "Path of the role, the same in every account."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([A-Za-z0-9+=,.@_-]+/)*$", var.path))
    error_message = "path must begin and end with a slash."
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
