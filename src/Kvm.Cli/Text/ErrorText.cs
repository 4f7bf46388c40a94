using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>Errors as people read them: what failed, why, what to type next; never more than three lines, never a stack trace unasked.</summary>
internal static class ErrorText
{
    /// <summary>The text of one error, with a line end.</summary>
    public static string Of(VmmException error, bool verbose)
    {
        var text = new StringBuilder()
            .Append("error ").Append(error.Error.Id).Append(": ").Append(error.Error.Summary)
            .Append("\n  ").Append(VisibleText.Escape(error.Message))
            .Append("\n  ").Append(error.Error.Fix).Append('\n');
        if (verbose)
            text.Append(error).Append('\n');
        return text.ToString();
    }

    /// <summary>An exception that nobody expected, as one of ours.</summary>
    public static VmmException Unexpected(Exception exception) =>
        new(UsageErrors.Unexpected, $"{exception.GetType().Name}: {VisibleText.Escape(exception.Message)}", exception);
}
