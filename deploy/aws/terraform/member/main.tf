resource "aws_iam_role" "this" {
  name                 = var.name
  path                 = var.path
  description          = "Read-only role of iam-key-exporter, assumed from another account."
  assume_role_policy   = local.trust
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies

  name   = each.key
  role   = aws_iam_role.this.id
  policy = each.value
}
