output "role_arn" {
  description = "ARN of the role, for role_arn in the exporter's list of accounts."
  value       = aws_iam_role.this.arn
}
