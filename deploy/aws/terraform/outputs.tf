output "role_arn" {
  description = "ARN of the role, for the service account's annotation (IRSA) or the association (Pod Identity)."
  value       = aws_iam_role.this.arn
}
