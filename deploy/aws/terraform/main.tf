resource "aws_iam_role" "this" {
  name                 = var.name
  description          = "Read-only role of iam-key-exporter."
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

resource "aws_iam_instance_profile" "this" {
  count = var.ec2 ? 1 : 0

  name = var.name
  role = aws_iam_role.this.id
}
