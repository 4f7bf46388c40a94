using System.Globalization;

namespace Kvm.Manager;

/// <summary>When a machine is started again that has ended by itself.</summary>
public enum RestartWhen
{
    /// <summary>Never.</summary>
    No,

    /// <summary>When it crashed.</summary>
    OnFailure,

    /// <summary>However it ended, unless somebody stopped it.</summary>
    Always,
}

/// <summary>A machine's rule for starting again. Immutable.</summary>
/// <param name="When">After which ends.</param>
/// <param name="Most">Starts in a row at most, after which it is left crashed; 0 for any number.</param>
public readonly record struct RestartPolicy(RestartWhen When, int Most = 0)
{
    private const int FirstDelayMs = 100;
    private const int LongestDelayMs = 60_000;

    /// <summary>A guest that ran as long as this has not failed in a row with the one before it.</summary>
    public static readonly TimeSpan Healthy = TimeSpan.FromSeconds(10);

    /// <summary>Failures in a row from which on a machine is said to be in a crash loop.</summary>
    public const int CrashLoop = 5;

    /// <summary>Understands <c>no</c>, <c>on-failure</c>, <c>on-failure:N</c> and <c>always</c>; null for anything else.</summary>
    public static RestartPolicy? Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        switch (text.Split(':'))
        {
            case ["no"]:
                return default(RestartPolicy);
            case ["always"]:
                return new RestartPolicy(RestartWhen.Always);
            case ["on-failure"]:
                return new RestartPolicy(RestartWhen.OnFailure);
            case ["on-failure", var count] when int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out int most) && most is >= 1 and <= 1_000_000:
                return new RestartPolicy(RestartWhen.OnFailure, most);
            default:
                return null;
        }
    }

    /// <summary>Whether a machine that ended by itself is started again.</summary>
    /// <param name="crashed">It failed.</param>
    /// <param name="failures">How often in a row it failed by now.</param>
    public bool Applies(bool crashed, int failures) => When switch
    {
        RestartWhen.Always => true,
        RestartWhen.OnFailure => crashed && (Most == 0 || failures <= Most),
        _ => false,
    };

    /// <summary>How long it is waited before: 100 ms, and twice as long after each failure in a row, a minute at most.</summary>
    /// <param name="failures">How often in a row it failed by now.</param>
    public static TimeSpan Delay(int failures) => TimeSpan.FromMilliseconds(Math.Min(LongestDelayMs, (double)FirstDelayMs * Math.Pow(2, Math.Clamp(failures - 1, 0, 30))));

    /// <inheritdoc/>
    public override string ToString() => When switch
    {
        RestartWhen.Always => "always",
        RestartWhen.OnFailure => Most == 0 ? "on-failure" : string.Create(CultureInfo.InvariantCulture, $"on-failure:{Most}"),
        _ => "no",
    };
}
