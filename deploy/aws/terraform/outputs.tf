output "role_arn" {
  description = "ARN of the role, for the service account's annotation (IRSA), the association (Pod Identity) or the trust of member roles."
  value       = aws_iam_role.this.arn
}
