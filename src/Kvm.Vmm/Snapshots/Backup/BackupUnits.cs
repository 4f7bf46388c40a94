using System.Globalization;
using System.Text;

namespace Kvm.Vmm.Snapshots.Backup;

/// <summary>The texts of systemd units that make backups (systemd.service(5), systemd.timer(5)).</summary>
public static class BackupUnits
{
    /// <summary>The service that makes a backup and removes those that are not kept.</summary>
    /// <param name="name">What is backed up.</param>
    /// <param name="program">The program's path.</param>
    /// <param name="commands">Its words, of one command after another.</param>
    public static string Service(string name, string program, IReadOnlyList<IReadOnlyList<string>> commands)
    {
        ArgumentNullException.ThrowIfNull(commands);
        var text = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"""
            [Unit]
            Description=Backup of {Plain(name)} by kvmsharp

            [Service]
            Type=oneshot
            Nice=10
            IOSchedulingClass=idle

            """));
        foreach (var words in commands)
        {
            text.Append("ExecStart=").Append(Word(program));
            foreach (string word in words)
                text.Append(' ').Append(Word(word));
            text.Append('\n');
        }

        return text.ToString();
    }

    /// <summary>The timer that starts it.</summary>
    /// <param name="name">What is backed up.</param>
    /// <param name="calendar">When, as systemd.time(7) says it.</param>
    public static string Timer(string name, string calendar) => $"""
        [Unit]
        Description=Backups of {Plain(name)} by kvmsharp

        [Timer]
        OnCalendar={Plain(calendar)}
        Persistent=true
        RandomizedDelaySec=5min

        [Install]
        WantedBy=timers.target

        """;

    /// <summary>A word of ExecStart= that systemd gives to the program as it is.</summary>
    private static string Word(string word)
    {
        var text = new StringBuilder("\"");
        foreach (char c in word)
        {
            text.Append(c switch
            {
                '"' => "\\\"",
                '\\' => @"\\",
                '%' => "%%",
                '$' => "$$",
                < ' ' or '\x7f' => string.Create(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}"),
                _ => c.ToString(),
            });
        }

        return text.Append('"').ToString();
    }

    /// <summary>A text of one line, in which nothing is replaced.</summary>
    private static string Plain(string text) => Configuration.VisibleText.Escape(text).Replace("%", "%%", StringComparison.Ordinal);
}
