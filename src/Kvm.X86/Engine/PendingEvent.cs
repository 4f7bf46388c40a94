namespace Kvm.X86.Engine;

/// <summary>An exception or interrupt to deliver before the next instruction; part of a saved state.</summary>
/// <param name="IsPending">There is one.</param>
/// <param name="Vector">Its vector.</param>
/// <param name="HasErrorCode">Whether an error code is pushed.</param>
/// <param name="ErrorCode">The error code.</param>
internal readonly record struct PendingEvent(bool IsPending, int Vector, bool HasErrorCode, uint ErrorCode);
