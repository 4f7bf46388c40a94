using Kvm.Vmm.Reporting;

namespace Kvm.Testing;

/// <summary>Something a guest was asked for did not happen.</summary>
public class GuestException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="message">What did not happen, and why.</param>
    /// <param name="inner">The exception behind it, or null.</param>
    public GuestException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>The guest ended, by itself or by somebody, while something was asked of it.</summary>
public sealed class GuestEndedException : GuestException
{
    internal GuestEndedException(string name, RunResult result, string consoleTail, Exception? inner = null)
        : base($"the guest {name} has ended ({ReportJson.NameOf(result.Outcome)}){(result.Explanation is { } why ? $": {why}" : "")}\n{consoleTail}", inner) =>
        Result = result;

    /// <summary>How it ended and what it did.</summary>
    public RunResult Result { get; }
}

/// <summary>The guest did not do in time what it was asked for. It goes on running.</summary>
public sealed class GuestTimeoutException : GuestException
{
    internal GuestTimeoutException(string what, TimeSpan limit, string consoleTail)
        : base($"{what}: not within {limit}\n{consoleTail}") =>
        Limit = limit;

    /// <summary>How long it was waited for.</summary>
    public TimeSpan Limit { get; }
}

/// <summary>
/// This host cannot run the guest: there is no KVM where one is required, or no kernel or initial RAM disk. A test that meets it says nothing
/// about what it tests, and is skipped with this message by <c>[VmFact]</c> and <c>[VmTheory]</c>.
/// </summary>
public sealed class GuestUnavailableException : GuestException
{
    /// <summary>Makes the exception.</summary>
    /// <param name="message">What this host lacks, and what to type to mend it.</param>
    public GuestUnavailableException(string message)
        : base(message)
    {
    }
}
