using System.Text;

namespace Kvm.Vmm.Agent;

/// <summary>The size of a terminal, in characters.</summary>
/// <param name="Rows">Lines.</param>
/// <param name="Columns">Characters in a line.</param>
public readonly record struct TerminalSize(ushort Rows, ushort Columns);

/// <summary>A program to be run in a guest. Immutable.</summary>
public sealed record AgentCommand
{
    /// <summary>A command of these words.</summary>
    /// <param name="words">The program, looked for in the folders of PATH where its name has no slash, and its arguments; 1 to 4,096.</param>
    public AgentCommand(params IReadOnlyList<string> words) => Words = words;

    /// <summary>The program and its arguments. With the variables they have 64 KiB at most.</summary>
    public IReadOnlyList<string> Words { get; }

    /// <summary>Variables besides PATH, HOME, USER and, with a terminal, TERM, which the agent sets where they are not among these.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>Sets no variable that is not in <see cref="Environment"/>.</summary>
    public bool CleanEnvironment { get; init; }

    /// <summary>The working folder; null for the agent's, which is the root.</summary>
    public string? Folder { get; init; }

    /// <summary>The program reads <see cref="AgentProcess.Input"/>; else it finds the end at once.</summary>
    public bool HasInput { get; init; }

    /// <summary>The program has a terminal of this size; what it writes to it is all in <see cref="AgentProcess.Output"/>.</summary>
    public TerminalSize? Terminal { get; init; }

    /// <summary>How many bytes of each stream <see cref="AgentClient.ExecAsync(AgentCommand, CancellationToken)"/> keeps; what is more is read and dropped. 16 MiB unless said.</summary>
    public int MostCaptured { get; init; } = 16 << 20;
}

/// <summary>How a program ended.</summary>
/// <param name="Code">What it returned; 0 where a signal ended it.</param>
/// <param name="Signal">The signal that ended it, or 0.</param>
public readonly record struct AgentExit(int Code, int Signal)
{
    /// <summary>As shells say it: what it returned, or 128 and the signal.</summary>
    public int ExitCode => Signal == 0 ? Code : 128 + Signal;
}

/// <summary>How a program ended, and what it wrote.</summary>
/// <param name="Exit">How it ended.</param>
/// <param name="OutputBytes">What it wrote to its standard output, as far as it was kept.</param>
/// <param name="ErrorBytes">What it wrote to its standard error, as far as it was kept.</param>
/// <param name="IsTruncated">It wrote more to one of them than was kept (<see cref="AgentCommand.MostCaptured"/>).</param>
public sealed record AgentResult(AgentExit Exit, ReadOnlyMemory<byte> OutputBytes, ReadOnlyMemory<byte> ErrorBytes, bool IsTruncated)
{
    /// <summary>As shells say it: what it returned, or 128 and the signal that ended it.</summary>
    public int ExitCode => Exit.ExitCode;

    /// <summary>Its standard output as UTF-8.</summary>
    public string Output => Encoding.UTF8.GetString(OutputBytes.Span);

    /// <summary>Its standard error as UTF-8.</summary>
    public string Errors => Encoding.UTF8.GetString(ErrorBytes.Span);
}
