Console.WriteLine("kvmsharp");
return 0;
